-- Figures per bucket of time. $1 is the bucket's width, $2 and $3 the period, $4 narrows to one name or is NULL.

-- name: calls
SELECT date_bin($1::interval, ts, 'epoch'::timestamptz) AS start,
       count(*) AS count,
       count(*) FILTER (WHERE NOT ok) AS failed,
       percentile_disc(0.5) WITHIN GROUP (ORDER BY duration_ms)::double precision AS p50_ms,
       percentile_disc(0.95) WITHIN GROUP (ORDER BY duration_ms)::double precision AS p95_ms,
       sum(tokens_in + tokens_out)::bigint AS tokens,
       sum(cost_uusd)::bigint AS cost_uusd
FROM (SELECT ts, ok, duration_ms, tokens_in, tokens_out, cost_uusd
      FROM llm_calls
      WHERE ts >= $2 AND ts < $3 AND ($4::text IS NULL OR model = $4)
        -- Stopped because the answer was no longer needed: no failure, and no response time either.
        AND error_class IS DISTINCT FROM 'CancelledError'
      ORDER BY ts DESC
      LIMIT 200000) AS newest
GROUP BY start
ORDER BY start
LIMIT 2000;

-- name: runs
SELECT date_bin($1::interval, started_at, 'epoch'::timestamptz) AS start,
       count(*) AS count,
       count(*) FILTER (WHERE status IN ('failed', 'failed_tasks', 'lost')) AS failed,
       percentile_disc(0.5) WITHIN GROUP (ORDER BY duration_ms)::double precision AS p50_ms,
       percentile_disc(0.95) WITHIN GROUP (ORDER BY duration_ms)::double precision AS p95_ms,
       0::bigint AS tokens,
       0::bigint AS cost_uusd
FROM (SELECT started_at, status, duration_ms
      FROM runs
      WHERE started_at >= $2 AND started_at < $3 AND status <> 'running' AND ($4::text IS NULL OR workspace = $4)
      ORDER BY started_at DESC
      LIMIT 200000) AS newest
GROUP BY start
ORDER BY start
LIMIT 2000;

-- name: phases
SELECT date_bin($1::interval, ts, 'epoch'::timestamptz) AS start,
       count(*) AS count,
       count(*) FILTER (WHERE NOT ok) AS failed,
       percentile_disc(0.5) WITHIN GROUP (ORDER BY value) AS p50_ms,
       percentile_disc(0.95) WITHIN GROUP (ORDER BY value) AS p95_ms,
       0::bigint AS tokens,
       0::bigint AS cost_uusd
FROM (SELECT ts, ok, value
      FROM performance_metrics
      WHERE metric = 'phase_duration_ms' AND ts >= $2 AND ts < $3 AND ($4::text IS NULL OR phase = $4)
      ORDER BY ts DESC
      LIMIT 200000) AS newest
GROUP BY start
ORDER BY start
LIMIT 2000;

-- name: metric
SELECT date_bin($1::interval, ts, 'epoch'::timestamptz) AS start,
       count(*) AS count,
       count(*) FILTER (WHERE NOT ok) AS failed,
       percentile_disc(0.5) WITHIN GROUP (ORDER BY value) AS p50_ms,
       percentile_disc(0.95) WITHIN GROUP (ORDER BY value) AS p95_ms,
       0::bigint AS tokens,
       0::bigint AS cost_uusd
FROM (SELECT ts, ok, value
      FROM performance_metrics
      WHERE metric = $4 AND ts >= $2 AND ts < $3
      ORDER BY ts DESC
      LIMIT 200000) AS newest
GROUP BY start
ORDER BY start
LIMIT 2000;

-- name: errors
SELECT date_bin($1::interval, ts, 'epoch'::timestamptz) AS start,
       count(*) AS count,
       count(*) AS failed,
       NULL::double precision AS p50_ms,
       NULL::double precision AS p95_ms,
       0::bigint AS tokens,
       0::bigint AS cost_uusd
FROM (SELECT ts
      FROM error_events
      WHERE ts >= $2 AND ts < $3 AND ($4::text IS NULL OR fingerprint = $4)
      ORDER BY ts DESC
      LIMIT 200000) AS newest
GROUP BY start
ORDER BY start
LIMIT 2000;
