-- name: latest
-- The latest runs, newest first.
SELECT id, started_at, finished_at, status, prompt, workspace, is_simulated, duration_ms, error
FROM runs
ORDER BY started_at DESC
LIMIT $1;

-- name: by_ending
-- Runs whose id, written without hyphens, ends in the given text; at most two, to see whether it is unique.
SELECT id, started_at, status, prompt, workspace, is_simulated, duration_ms, error, report
FROM runs
WHERE replace(id::text, '-', '') LIKE '%' || $1
ORDER BY started_at DESC
LIMIT 2;

-- name: outputs
SELECT task_id, output
FROM tasks
WHERE run_id = $1 AND id >= omn_run_since($1) AND output IS NOT NULL
LIMIT 10000;

-- name: calls
SELECT ts, role, deployment, model, ok, attempts, duration_ms, tokens_in, tokens_out, cost_uusd, cache, degraded,
       error_class
FROM llm_calls
WHERE run_id = $1 AND id >= omn_run_since($1)
ORDER BY ts
LIMIT 10000;

-- name: votes
SELECT round, deployment, model, decision, score, confidence, deficiencies, counted, duration_ms, error_class
FROM votes
WHERE run_id = $1 AND id >= omn_run_since($1)
ORDER BY round, ts
LIMIT 10000;

-- name: mark_lost
-- A run whose process is dead: lost, unless its end was told. True when the run has a row at all.
WITH marked AS (
    UPDATE runs SET status = 'lost', error = $2 WHERE id = $1 AND status = 'running'
    RETURNING started_at, workspace, is_simulated
), counted AS (
    INSERT INTO rollup_runs AS t (grain, bucket, status, workspace, writer_id, n, simulated, latency, last_at)
    SELECT grain, date_trunc(grain, started_at, 'UTC'), 'lost', left(coalesce(workspace, ''), 200),
           '00000000-0000-0000-0000-000000000000', 1, is_simulated::integer, 0, started_at
    FROM marked, (VALUES ('minute'), ('hour')) AS grains (grain)
    ON CONFLICT (grain, bucket, status, workspace, writer_id) DO UPDATE
    SET n = t.n + excluded.n, simulated = t.simulated + excluded.simulated, last_at = greatest(t.last_at, excluded.last_at)
)
SELECT true FROM runs WHERE id = $1;
