-- The course of error groups.

-- name: series
SELECT fingerprint, date_bin($3::interval, bucket, $1) AS bucket, sum(n)::bigint AS n
  FROM rollup_errors WHERE fingerprint = ANY ($4::text[]) AND grain = omn_grain($1) AND bucket >= omn_first_bucket($1) AND bucket < $2
 GROUP BY 1, 2 ORDER BY 2

-- name: extent
-- All that is known of a group, whatever its age; its runs are those of its newest 1,000 errors.
SELECT coalesce(sum(n), 0)::bigint AS n, min(first_at) AS first_at, max(last_at) AS last_at,
       (SELECT count(DISTINCT run_id)
          FROM (SELECT run_id FROM error_events WHERE fingerprint = $1 ORDER BY ts DESC LIMIT 1000) AS newest) AS runs
  FROM rollup_errors WHERE grain = 'hour' AND fingerprint = $1
