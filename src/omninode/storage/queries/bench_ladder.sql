-- A table of ten columns that belongs to the benchmark alone, with its primary key and nothing else.

-- name: create
CREATE TABLE IF NOT EXISTS bench_ladder (
    id uuid PRIMARY KEY, ts timestamptz NOT NULL, run_id uuid, agent text, phase text, model text,
    duration_ms double precision, cost double precision, ok boolean, labels jsonb
);

-- name: drop
DROP TABLE IF EXISTS bench_ladder;

-- name: insert
INSERT INTO bench_ladder (id, ts, run_id, agent, phase, model, duration_ms, cost, ok, labels)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- name: upsert
INSERT INTO bench_ladder (id, ts, run_id, agent, phase, model, duration_ms, cost, ok, labels)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (id) DO UPDATE SET ts = excluded.ts, run_id = excluded.run_id, agent = excluded.agent,
    phase = excluded.phase, model = excluded.model, duration_ms = excluded.duration_ms, cost = excluded.cost,
    ok = excluded.ok, labels = excluded.labels;

-- name: update
UPDATE bench_ladder SET duration_ms = $2, ok = $3 WHERE id = $1;

-- name: delete
DELETE FROM bench_ladder WHERE id = $1;

-- name: count
SELECT count(*) FROM bench_ladder;

-- name: clear
TRUNCATE bench_ladder;
