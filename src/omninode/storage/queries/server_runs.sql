-- Runs: the list, page by page, and all that is known of one.

-- name: page
-- The newest runs before ($1, $2); $3 is a status or null. Costs and tasks are added up for this page only.
WITH page AS (
    SELECT id, started_at, finished_at, status, prompt, workspace, is_simulated, duration_ms, error
      FROM runs
     WHERE (started_at, id) < ($1, $2) AND ($3::text IS NULL OR status = $3)
     ORDER BY started_at DESC, id DESC
     LIMIT $4)
SELECT page.*, calls.n AS calls, calls.failed AS calls_failed, calls.cost_uusd, calls.unpriced, calls.tokens,
       work.n AS tasks, work.failed AS tasks_failed
  FROM page
 CROSS JOIN LATERAL (
       SELECT count(*) AS n, count(*) FILTER (WHERE NOT ok AND error_class IS DISTINCT FROM 'CancelledError') AS failed,
              sum(cost_uusd)::bigint AS cost_uusd,
              count(*) FILTER (WHERE ok AND cost_uusd IS NULL) AS unpriced,
              coalesce(sum(tokens_in + tokens_out), 0)::bigint AS tokens
         FROM llm_calls WHERE run_id = page.id AND id >= omn_run_since(page.id)) AS calls
 CROSS JOIN LATERAL (
       SELECT count(*) AS n, count(*) FILTER (WHERE status <> 'ok') AS failed
         FROM tasks WHERE run_id = page.id AND id >= omn_run_since(page.id)) AS work
 ORDER BY page.started_at DESC, page.id DESC

-- name: count
-- How many there are, counted no further than 10,000.
SELECT count(*) AS n FROM (SELECT 1 FROM runs WHERE $1::text IS NULL OR status = $1 LIMIT 10000) AS counted

-- name: statuses
SELECT status, count(*) AS n
  FROM (SELECT status FROM runs ORDER BY started_at DESC LIMIT 10000) AS latest GROUP BY status ORDER BY n DESC

-- name: one
SELECT id, started_at, finished_at, status, prompt, workspace, is_simulated, duration_ms, error, report
  FROM runs WHERE id = $1

-- name: metrics
SELECT id, ts, phase, metric, value, ok, labels
  FROM performance_metrics
 WHERE run_id = $1 AND id >= omn_run_since($1) AND metric IN ('phase_duration_ms', 'source_duration_ms')
 ORDER BY ts LIMIT 5000

-- name: tasks
SELECT id, ts, task_id, agent_id, task_type, description, depends_on, status, duration_ms, wait_ms, output, error
  FROM tasks WHERE run_id = $1 AND id >= omn_run_since($1) ORDER BY ts LIMIT 10000

-- name: calls
SELECT id, ts, phase, task_id, agent_id, role, provider, deployment, model, ok, status, attempts, duration_ms,
       ttft_ms, tokens_in, tokens_out, cost_uusd, cache, degraded, error_class, is_simulated
  FROM llm_calls WHERE run_id = $1 AND id >= omn_run_since($1) ORDER BY ts LIMIT 50000

-- name: votes
SELECT id, ts, round, deployment, model, decision, score, confidence, weight, deficiencies, counted, duration_ms,
       error_class
  FROM votes WHERE run_id = $1 AND id >= omn_run_since($1) ORDER BY round, ts LIMIT 1000

-- name: errors
SELECT id, ts, phase, fingerprint, error_class, message, retryable, attempt, place
  FROM error_events WHERE run_id = $1 AND id >= omn_run_since($1) ORDER BY ts LIMIT 1000
