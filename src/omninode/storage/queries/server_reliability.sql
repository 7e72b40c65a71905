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
SELECT deployment, model, count(*) AS n, count(*) FILTER (WHERE ok) AS ok, sum(attempts)::bigint AS attempts,
       count(*) FILTER (WHERE NOT ok AND error_class = 'CancelledError') AS stopped,
       count(*) FILTER (WHERE attempts > 1 AND ok) AS recovered,
       count(*) FILTER (WHERE attempts > 1) AS retried,
       count(*) FILTER (WHERE degraded IS NOT NULL) AS degraded,
       count(*) FILTER (WHERE cache IN ('hit', 'shared')) AS cached,
       percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY duration_ms)
           FILTER (WHERE cache NOT IN ('hit', 'shared') AND error_class IS DISTINCT FROM 'CancelledError') AS duration_ms,
       max(ts) AS newest
  FROM llm_calls WHERE ts >= $1 AND ts < $2
 GROUP BY deployment, model ORDER BY n DESC LIMIT 100

-- name: degraded
SELECT degraded, deployment, count(*) AS n, max(ts) AS newest
  FROM llm_calls WHERE ts >= $1 AND ts < $2 AND degraded IS NOT NULL
 GROUP BY degraded, deployment ORDER BY n DESC LIMIT 50

-- name: batches
SELECT table_name, operation, method, count(*) AS n, sum(rows_ok)::bigint AS rows_ok,
       sum(rows_failed)::bigint AS rows_failed, sum(duration_ms)::bigint AS duration_ms,
       count(*) FILTER (WHERE error IS NOT NULL) AS failed, max(ts) AS newest
  FROM batch_operation_logs WHERE ts >= $1 AND ts < $2
 GROUP BY table_name, operation, method ORDER BY rows_ok DESC LIMIT 100

-- name: dead_letters
SELECT table_name, sqlstate, error, count(*) AS n, max(ts) AS newest
  FROM dead_letters WHERE ts >= $1 AND ts < $2
 GROUP BY table_name, sqlstate, error ORDER BY n DESC LIMIT 50
