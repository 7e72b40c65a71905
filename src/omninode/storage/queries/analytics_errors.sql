-- Errors by fingerprint: counted from the rollups, told by the newest of each group.

-- name: groups
-- The runs of a group are those of its newest 100 errors in the period.
WITH counted AS (
    SELECT fingerprint, sum(n)::bigint AS count, sum(retryable) > 0 AS retryable,
           array_agg(DISTINCT phase) FILTER (WHERE phase <> '') AS phases, max(last_at) AS last_at
    FROM omn_ranges($1, $2) AS r
    CROSS JOIN LATERAL (
        SELECT * FROM rollup_errors AS t
        WHERE t.grain = r.grain AND t.bucket >= r.low AND t.bucket < r.high OFFSET 0) AS told
    GROUP BY fingerprint
), page AS (
    SELECT * FROM counted
    WHERE ($3::timestamptz IS NULL OR (last_at, fingerprint) < ($3, $4::text))
    ORDER BY last_at DESC, fingerprint DESC
    LIMIT $5
)
SELECT page.*, coalesce(newest.error_class, 'unknown') AS error_class, coalesce(newest.message, '') AS message,
       coalesce(newest.place, '') AS place, told.runs, life.first_at
FROM page
LEFT JOIN LATERAL (
    SELECT error_class, message, place FROM error_events
    WHERE fingerprint = page.fingerprint AND ts < $2
    ORDER BY ts DESC LIMIT 1) AS newest ON true
CROSS JOIN LATERAL (
    -- The beginning of the period stands outside: inside, a plan for any period would read the whole group and sort it.
    SELECT count(DISTINCT run_id) AS runs
    FROM (SELECT run_id, ts FROM error_events
          WHERE fingerprint = page.fingerprint AND ts < $2
          ORDER BY ts DESC LIMIT 100) AS latest
    WHERE ts >= $1) AS told
CROSS JOIN LATERAL (
    SELECT min(first_at) AS first_at FROM rollup_errors
    WHERE grain = 'hour' AND fingerprint = page.fingerprint) AS life
ORDER BY page.last_at DESC, page.fingerprint DESC;

-- name: samples
SELECT id, ts, run_id, phase, error_class, message, attempt, place, context
FROM error_events
WHERE fingerprint = $1 AND (ts, id) < ($2, $3)
ORDER BY ts DESC, id DESC
LIMIT $4;

-- name: shares
-- What errors have in common is in the errors only: the newest 10,000 of the period.
SELECT attribute, value,
       count(*) FILTER (WHERE is_selected) AS selected,
       count(*) FILTER (WHERE NOT is_selected) AS others
FROM (SELECT fingerprint = $3 AS is_selected, phase, place, error_class,
             context ->> 'deployment' AS deployment, context ->> 'agent_id' AS agent_id
      FROM error_events
      WHERE id >= omn_since($1) AND ts >= $1 AND ts < $2
      ORDER BY id DESC
      LIMIT 10000) AS newest,
     LATERAL (VALUES ('phase', phase), ('place', place), ('deployment', deployment), ('agent_id', agent_id))
        AS told (attribute, value)
WHERE value IS NOT NULL AND value <> ''
GROUP BY attribute, value
ORDER BY selected DESC, attribute, value
LIMIT 500;
