-- The course of error groups.

-- name: series
SELECT fingerprint, date_bin($3::interval, ts, $1) AS bucket, count(*) AS n
  FROM error_events WHERE ts >= $1 AND ts < $2 AND fingerprint = ANY($4::text[])
 GROUP BY fingerprint, bucket ORDER BY bucket

-- name: extent
SELECT count(*) AS n, min(ts) AS first_at, max(ts) AS last_at, count(DISTINCT run_id) AS runs
  FROM error_events WHERE fingerprint = $1
