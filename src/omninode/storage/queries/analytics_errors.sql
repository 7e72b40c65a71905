-- Errors by fingerprint. Groups are counted over at most the newest 50,000 errors of the period.

-- name: groups
WITH recent AS (
    SELECT fingerprint, error_class, message, ts, run_id, phase, place, retryable
    FROM error_events
    WHERE ts >= $1 AND ts < $2
    ORDER BY ts DESC
    LIMIT 50000
), grouped AS (
    SELECT fingerprint,
           (array_agg(error_class ORDER BY ts DESC))[1] AS error_class,
           (array_agg(message ORDER BY ts DESC))[1] AS message,
           (array_agg(place ORDER BY ts DESC))[1] AS place,
           bool_or(retryable) AS retryable,
           count(*) AS count,
           count(DISTINCT run_id) AS runs,
           array_agg(DISTINCT phase) FILTER (WHERE phase IS NOT NULL) AS phases,
           min(ts) AS first_in_period,
           max(ts) AS last_at
    FROM recent
    GROUP BY fingerprint
)
SELECT grouped.*, (SELECT min(ts) FROM error_events WHERE error_events.fingerprint = grouped.fingerprint) AS first_at
FROM grouped
WHERE ($3::timestamptz IS NULL OR (last_at, fingerprint) < ($3, $4::text))
ORDER BY last_at DESC, fingerprint DESC
LIMIT $5;

-- name: samples
SELECT id, ts, run_id, phase, error_class, message, attempt, place, context
FROM error_events
WHERE fingerprint = $1 AND (ts, id) < ($2, $3)
ORDER BY ts DESC, id DESC
LIMIT $4;

-- name: shares
SELECT attribute, value,
       count(*) FILTER (WHERE is_selected) AS selected,
       count(*) FILTER (WHERE NOT is_selected) AS others
FROM (SELECT fingerprint = $3 AS is_selected, phase, place, error_class,
             context ->> 'deployment' AS deployment, context ->> 'agent_id' AS agent_id
      FROM error_events
      WHERE ts >= $1 AND ts < $2
      ORDER BY ts DESC
      LIMIT 50000) AS newest,
     LATERAL (VALUES ('phase', phase), ('place', place), ('deployment', deployment), ('agent_id', agent_id))
        AS told (attribute, value)
WHERE value IS NOT NULL AND value <> ''
GROUP BY attribute, value
ORDER BY selected DESC, attribute, value
LIMIT 500;
