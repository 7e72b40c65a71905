-- The front page: how the system does over a stretch of time [$1, $2).

-- name: runs
-- A refused input is the caller's fault and a cancelled run nobody's, so neither counts against success.
SELECT count(*) AS n,
       count(*) FILTER (WHERE status = 'running') AS running,
       count(*) FILTER (WHERE status = 'done') AS done,
       count(*) FILTER (WHERE status IN ('failed_tasks', 'failed', 'rejected', 'lost')) AS failed,
       count(*) FILTER (WHERE status = 'refused') AS refused,
       count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
       count(*) FILTER (WHERE is_simulated) AS simulated,
       percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY duration_ms) AS duration_ms,
       max(coalesce(finished_at, started_at)) AS newest
  FROM runs
 WHERE started_at >= $1 AND started_at < $2

-- name: calls
-- A call that was stopped because its answer was no longer needed is neither a failure nor a response time.
SELECT count(*) AS n,
       count(*) FILTER (WHERE ok) AS ok,
       count(*) FILTER (WHERE NOT ok AND error_class = 'CancelledError') AS stopped,
       count(*) FILTER (WHERE cache IN ('hit', 'shared')) AS cached,
       count(*) FILTER (WHERE degraded IS NOT NULL) AS degraded,
       count(*) FILTER (WHERE ok AND cost_uusd IS NULL) AS unpriced,
       count(*) FILTER (WHERE is_simulated) AS simulated,
       coalesce(sum(attempts), 0)::bigint AS attempts,
       coalesce(sum(tokens_in), 0)::bigint AS tokens_in,
       coalesce(sum(tokens_out), 0)::bigint AS tokens_out,
       coalesce(sum(cost_uusd), 0)::bigint AS cost_uusd,
       percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY duration_ms)
           FILTER (WHERE cache NOT IN ('hit', 'shared') AND error_class IS DISTINCT FROM 'CancelledError') AS duration_ms,
       max(ts) AS newest
  FROM llm_calls
 WHERE ts >= $1 AND ts < $2

-- name: series
SELECT date_bin($3::interval, ts, $1) AS bucket,
       count(*) AS calls,
       count(*) FILTER (WHERE NOT ok AND error_class IS DISTINCT FROM 'CancelledError') AS failed,
       count(*) FILTER (WHERE NOT ok AND error_class = 'CancelledError') AS stopped,
       count(*) FILTER (WHERE degraded IS NOT NULL) AS degraded,
       coalesce(sum(attempts), 0)::bigint AS attempts,
       coalesce(sum(tokens_in + tokens_out), 0)::bigint AS tokens,
       coalesce(sum(cost_uusd), 0)::bigint AS cost_uusd,
       percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY duration_ms)
           FILTER (WHERE cache NOT IN ('hit', 'shared') AND error_class IS DISTINCT FROM 'CancelledError') AS duration_ms
  FROM llm_calls
 WHERE ts >= $1 AND ts < $2
 GROUP BY bucket
 ORDER BY bucket

-- name: run_series
SELECT date_bin($3::interval, started_at, $1) AS bucket,
       count(*) AS runs,
       count(*) FILTER (WHERE status = 'done') AS done,
       count(*) FILTER (WHERE status IN ('failed_tasks', 'failed', 'rejected', 'lost')) AS failed,
       percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY duration_ms) AS duration_ms
  FROM runs
 WHERE started_at >= $1 AND started_at < $2
 GROUP BY bucket
 ORDER BY bucket

-- name: gauges
-- The newest value of each of the metrics $3, with the busiest one of the stretch.
SELECT wanted.metric, newest.value, newest.ts, stretch.peak, stretch.n
  FROM unnest($3::text[]) AS wanted(metric)
 CROSS JOIN LATERAL (
       SELECT value, ts FROM performance_metrics
        WHERE metric = wanted.metric AND ts >= $1 AND ts < $2 ORDER BY ts DESC LIMIT 1) AS newest
 CROSS JOIN LATERAL (
       SELECT max(value) AS peak, count(*) AS n FROM performance_metrics
        WHERE metric = wanted.metric AND ts >= $1 AND ts < $2) AS stretch

-- name: gauge_series
SELECT metric, date_bin($3::interval, ts, $1) AS bucket, avg(value) AS value
  FROM performance_metrics
 WHERE metric = ANY($4::text[]) AND ts >= $1 AND ts < $2
 GROUP BY metric, bucket
 ORDER BY bucket

-- name: alerts
-- The last word on each alert; those that fire first.
SELECT * FROM (
    SELECT DISTINCT ON (alert) alert, ts, state, severity, metric, value, threshold, message, run_id
      FROM alerts WHERE ts >= $1 AND ts < $2
     ORDER BY alert, ts DESC) AS latest
 ORDER BY state, ts DESC
 LIMIT 50

-- name: phases
SELECT phase, count(*) AS n, count(*) FILTER (WHERE NOT ok) AS failed,
       percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY value) AS duration_ms
  FROM performance_metrics
 WHERE metric = 'phase_duration_ms' AND ts >= $1 AND ts < $2
 GROUP BY phase
