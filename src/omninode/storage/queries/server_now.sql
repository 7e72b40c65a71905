-- The front page: how the system does over a stretch of time [$1, $2), from the rollups.

-- name: runs
-- A refused input is the caller's fault and a cancelled run nobody's, so neither counts against success.
SELECT ended.n + going.n AS n, going.n AS running, ended.done, ended.failed, ended.refused, ended.cancelled,
       ended.simulated + going.simulated AS simulated, ended.latency, greatest(ended.newest, going.newest) AS newest
  FROM (SELECT coalesce(sum(n), 0)::bigint AS n,
               coalesce(sum(n) FILTER (WHERE status = 'done'), 0)::bigint AS done,
               coalesce(sum(n) FILTER (WHERE status IN ('failed_tasks', 'failed', 'rejected', 'lost')), 0)::bigint AS failed,
               coalesce(sum(n) FILTER (WHERE status = 'refused'), 0)::bigint AS refused,
               coalesce(sum(n) FILTER (WHERE status = 'cancelled'), 0)::bigint AS cancelled,
               coalesce(sum(simulated), 0)::bigint AS simulated,
               sum(latency)::text AS latency,
               max(last_at) AS newest
          FROM omn_ranges($1, $2) AS r
         CROSS JOIN LATERAL (
               SELECT * FROM rollup_runs AS t
               WHERE t.grain = r.grain AND t.bucket >= r.low AND t.bucket < r.high OFFSET 0) AS told) AS ended,
       (SELECT count(*) AS n, count(*) FILTER (WHERE is_simulated) AS simulated, max(started_at) AS newest
          FROM runs WHERE status = 'running' AND started_at >= $1 AND started_at < $2) AS going

-- name: calls
-- A call that was stopped because its answer was no longer needed is neither a failure nor a response time.
SELECT coalesce(sum(n), 0)::bigint AS n,
       coalesce(sum(ok), 0)::bigint AS ok,
       coalesce(sum(stopped), 0)::bigint AS stopped,
       coalesce(sum(cached), 0)::bigint AS cached,
       coalesce(sum(degraded), 0)::bigint AS degraded,
       coalesce(sum(unpriced_ok), 0)::bigint AS unpriced,
       coalesce(sum(simulated), 0)::bigint AS simulated,
       coalesce(sum(attempts), 0)::bigint AS attempts,
       coalesce(sum(tokens_in), 0)::bigint AS tokens_in,
       coalesce(sum(tokens_out), 0)::bigint AS tokens_out,
       coalesce(sum(cost_uusd), 0)::bigint AS cost_uusd,
       sum(latency)::text AS latency,
       max(last_at) AS newest
  FROM omn_ranges($1, $2) AS r
 CROSS JOIN LATERAL (
     SELECT * FROM rollup_calls AS t
     WHERE t.grain = r.grain AND t.bucket >= r.low AND t.bucket < r.high OFFSET 0) AS told

-- name: series
SELECT date_bin($3::interval, bucket, $1) AS bucket,
       sum(n)::bigint AS calls,
       sum(n - ok - stopped)::bigint AS failed,
       sum(stopped)::bigint AS stopped,
       sum(degraded)::bigint AS degraded,
       sum(attempts)::bigint AS attempts,
       sum(tokens_in + tokens_out)::bigint AS tokens,
       sum(cost_uusd)::bigint AS cost_uusd,
       sum(latency)::text AS latency
  FROM rollup_calls
 WHERE grain = omn_grain($1) AND bucket >= omn_first_bucket($1) AND bucket < $2
 GROUP BY 1
 ORDER BY 1

-- name: run_series
SELECT date_bin($3::interval, bucket, $1) AS bucket,
       sum(n)::bigint AS runs,
       coalesce(sum(n) FILTER (WHERE status = 'done'), 0)::bigint AS done,
       coalesce(sum(n) FILTER (WHERE status IN ('failed_tasks', 'failed', 'rejected', 'lost')), 0)::bigint AS failed,
       sum(latency)::text AS latency
  FROM rollup_runs
 WHERE grain = omn_grain($1) AND bucket >= omn_first_bucket($1) AND bucket < $2
 GROUP BY 1
 ORDER BY 1

-- name: gauges
-- The newest value of each of the metrics $3, with the busiest one of the stretch.
SELECT metric, (array_agg(last_value ORDER BY last_at DESC))[1] AS value, max(last_at) AS ts, max(highest) AS peak,
       sum(n)::bigint AS n
  FROM omn_ranges($1, $2) AS r
 CROSS JOIN LATERAL (
     SELECT * FROM rollup_metrics AS t
     WHERE metric = ANY ($3::text[]) AND t.grain = r.grain AND t.bucket >= r.low AND t.bucket < r.high OFFSET 0) AS told
 GROUP BY metric

-- name: gauge_series
SELECT metric, date_bin($3::interval, bucket, $1) AS bucket, sum(total) / sum(n) AS value
  FROM rollup_metrics
 WHERE metric = ANY ($4::text[]) AND grain = omn_grain($1) AND bucket >= omn_first_bucket($1) AND bucket < $2
 GROUP BY 1, 2
 ORDER BY 2

-- name: alerts
-- The last word on each alert; those that fire first.
SELECT * FROM (
    SELECT DISTINCT ON (alert) alert, ts, state, severity, metric, value, threshold, message, run_id
      FROM alerts WHERE ts >= $1 AND ts < $2
     ORDER BY alert, ts DESC) AS latest
 ORDER BY state, ts DESC
 LIMIT 50

-- name: phases
SELECT nullif(phase, '') AS phase, sum(n)::bigint AS n, sum(failed)::bigint AS failed, sum(latency)::text AS latency
  FROM omn_ranges($1, $2) AS r
 CROSS JOIN LATERAL (
     SELECT * FROM rollup_metrics AS t
     WHERE metric = 'phase_duration_ms' AND t.grain = r.grain AND t.bucket >= r.low AND t.bucket < r.high OFFSET 0) AS told
 GROUP BY 1
