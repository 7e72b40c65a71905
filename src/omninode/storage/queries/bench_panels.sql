-- A week of use, made by the server itself, and what a chart would cost without rollups.

-- name: make_runs
-- $1 runs, spread over the seven days before $2; a busier hour every day.
INSERT INTO runs (id, started_at, finished_at, status, prompt, is_simulated, duration_ms)
SELECT (lpad(to_hex((extract(epoch FROM started_at) * 1000)::bigint), 12, '0') || '7'
        || substr(replace(gen_random_uuid()::text, '-', ''), 14))::uuid,
       started_at, started_at + interval '9 s', CASE WHEN n % 13 = 0 THEN 'failed' ELSE 'done' END,
       'a prompt of the bench', true, 5000 + n % 7000
FROM generate_series(1, $1::integer) AS n,
     LATERAL (SELECT $2::timestamptz - (n::double precision / $1) * interval '7 days' AS started_at) AS moment;

-- name: make_metrics
-- Seven phases and four sources a run.
INSERT INTO performance_metrics (id, ts, run_id, phase, metric, value, ok, labels)
SELECT (substr(runs.id::text, 1, 15) || substr(gen_random_uuid()::text, 16))::uuid, started_at + step * interval '700 ms', runs.id,
       (ARRAY['input_validation', 'context_gathering', 'task_decomposition', 'quorum_validation', 'parallel_execution',
              'result_aggregation', 'reporting'])[CASE WHEN step < 7 THEN step + 1 ELSE 2 END],
       CASE WHEN step < 7 THEN 'phase_duration_ms' ELSE 'source_duration_ms' END,
       exp(random() * 9), random() < 0.97, jsonb_build_object('attempt', 1, 'source', 's' || step)
FROM runs, generate_series(0, 10) AS step;

-- name: make_calls
INSERT INTO llm_calls (id, ts, run_id, phase, task_id, agent_id, role, provider, deployment, model, ok, attempts, duration_ms,
                       tokens_in, tokens_out, cost_uusd, cache, degraded, error_class, is_simulated)
SELECT (substr(runs.id::text, 1, 15) || substr(gen_random_uuid()::text, 16))::uuid, started_at + step * interval '1200 ms', runs.id,
       'parallel_execution', 't' || step, 'agent-' || (step + runs.duration_ms % 12),
       CASE WHEN step = 0 THEN 'planner' ELSE 'worker' END, 'provider-' || pick % 3, 'deployment-' || pick,
       'model-' || pick % 5, random() < 0.96, 1 + (random() * 1.2)::integer, exp(random() * 9), 900, 300,
       CASE WHEN pick = 7 THEN NULL ELSE 40 END, CASE WHEN random() < 0.1 THEN 'hit' ELSE 'miss' END,
       CASE WHEN random() < 0.02 THEN 'fallback' END, NULL, true
FROM runs, generate_series(0, 4) AS step, LATERAL (SELECT ((runs.duration_ms + step) % 8) AS pick) AS chosen;

-- name: make_tasks
INSERT INTO tasks (id, ts, run_id, task_id, agent_id, task_type, description, status, duration_ms)
SELECT (substr(runs.id::text, 1, 15) || substr(gen_random_uuid()::text, 16))::uuid, started_at + step * interval '2 s', runs.id,
       't' || step, 'agent-' || (step + runs.duration_ms % 12), 'type-' || runs.duration_ms % 6, 'a task', 'ok', 900
FROM runs, generate_series(1, 3) AS step;

-- name: make_outcomes
INSERT INTO agent_performance (id, ts, run_id, agent_id, task_type, success, duration_ms, tokens_in, tokens_out, cost_uusd,
                               error_class)
SELECT (substr(tasks.id::text, 1, 15) || substr(gen_random_uuid()::text, 16))::uuid, ts, run_id, agent_id, task_type,
       good, exp(random() * 9), 900, 300, 40, CASE WHEN NOT good THEN 'AttemptTimeoutError' END
FROM tasks, LATERAL (SELECT tasks.duration_ms > 0 AND random() < 0.93 AS good) AS ended;

-- name: make_votes
INSERT INTO votes (id, ts, run_id, round, deployment, model, decision, counted, duration_ms)
SELECT (substr(id::text, 1, 15) || substr(gen_random_uuid()::text, 16))::uuid, started_at + interval '3 s', id, 1,
       'deployment-1', 'model-1', 'PASS', true, 800
FROM runs;

-- name: make_errors
INSERT INTO error_events (id, ts, run_id, phase, fingerprint, error_class, message, retryable)
SELECT (substr(id::text, 1, 15) || substr(gen_random_uuid()::text, 16))::uuid, started_at + interval '4 s', id,
       'parallel_execution', 'fingerprint-' || duration_ms % 40, 'ProviderError', 'it failed', true
FROM runs WHERE duration_ms % 3 = 0;

-- name: spans
SELECT (SELECT count(*) FROM performance_metrics) + (SELECT count(*) FROM llm_calls) + (SELECT count(*) FROM tasks)
     + (SELECT count(*) FROM votes) AS n;

-- name: some_runs
SELECT id FROM runs ORDER BY md5(id::text) LIMIT $1;

-- name: calls_from_rows
-- What `server_now.series` tells, from the rows.
SELECT date_bin($3::interval, ts, $1) AS bucket, count(*) AS calls, count(*) FILTER (WHERE NOT ok) AS failed,
       sum(tokens_in + tokens_out)::bigint AS tokens, sum(cost_uusd)::bigint AS cost_uusd,
       percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY duration_ms) AS duration_ms
FROM llm_calls WHERE id >= omn_since($1) AND ts >= $1 AND ts < $2
GROUP BY 1 ORDER BY 1;

-- name: vacuum
VACUUM (ANALYZE);

-- name: clear
TRUNCATE runs, performance_metrics, llm_calls, agent_performance, error_events, tasks, votes;
