-- What is open, what is retried, what runs degraded, and what happens to the rows on their way.

-- name: breakers
SELECT name, state, failures, successes, generation, opened_at, reopen_at, reason, updated_at
  FROM circuit_breaker_state
 ORDER BY CASE state WHEN 'open' THEN 0 WHEN 'half_open' THEN 1 ELSE 2 END, name
 LIMIT 200

-- name: retries
SELECT name, calls, attempts, retries, recovered, exhausted, budget_tokens, last_error, updated_at
  FROM retry_manager_state ORDER BY retries DESC, name LIMIT 200

-- name: deployments
SELECT deployment, model, sum(n)::bigint AS n, sum(ok)::bigint AS ok, sum(attempts)::bigint AS attempts,
       sum(stopped)::bigint AS stopped, sum(recovered)::bigint AS recovered, sum(retried)::bigint AS retried,
       sum(degraded)::bigint AS degraded, sum(cached)::bigint AS cached, sum(latency)::text AS latency,
       max(last_at) AS newest
  FROM omn_ranges($1, $2) AS r
 CROSS JOIN LATERAL (
       SELECT * FROM rollup_calls AS t
        WHERE t.grain = r.grain AND t.bucket >= r.low AND t.bucket < r.high OFFSET 0) AS told
 GROUP BY deployment, model ORDER BY n DESC, deployment, model LIMIT 100

-- name: degraded
SELECT degraded, deployment, sum(n)::bigint AS n, max(last_at) AS newest
  FROM omn_ranges($1, $2) AS r
 CROSS JOIN LATERAL (
       SELECT * FROM rollup_degraded AS t
        WHERE t.grain = r.grain AND t.bucket >= r.low AND t.bucket < r.high OFFSET 0) AS told
 GROUP BY degraded, deployment ORDER BY n DESC, degraded, deployment LIMIT 50

-- name: batches
-- One row per call of the batch door, so there are few; the newest 20,000.
SELECT table_name, operation, method, count(*) AS n, sum(rows_ok)::bigint AS rows_ok,
       sum(rows_failed)::bigint AS rows_failed, sum(duration_ms)::bigint AS duration_ms,
       count(*) FILTER (WHERE error IS NOT NULL) AS failed, max(ts) AS newest
  FROM (SELECT table_name, operation, method, rows_ok, rows_failed, duration_ms, error, ts
          FROM batch_operation_logs WHERE id >= omn_since($1) AND ts >= $1 AND ts < $2
         ORDER BY id DESC LIMIT 20000) AS newest
 GROUP BY table_name, operation, method ORDER BY rows_ok DESC LIMIT 100

-- name: dead_letters
SELECT table_name, sqlstate, error, count(*) AS n, max(ts) AS newest
  FROM (SELECT table_name, sqlstate, error, ts FROM dead_letters WHERE ts >= $1 AND ts < $2
         ORDER BY ts DESC LIMIT 20000) AS newest
 GROUP BY table_name, sqlstate, error ORDER BY n DESC LIMIT 50
