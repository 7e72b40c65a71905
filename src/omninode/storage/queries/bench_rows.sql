-- One row a statement: the other arm of the batch benchmark, and what it is compared on.

-- name: insert
INSERT INTO performance_metrics (id, ts, run_id, phase, metric, value, ok, labels)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8);

-- name: upsert
INSERT INTO performance_metrics (id, ts, run_id, phase, metric, value, ok, labels)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (id) DO UPDATE SET ts = excluded.ts, run_id = excluded.run_id, phase = excluded.phase,
    metric = excluded.metric, value = excluded.value, ok = excluded.ok, labels = excluded.labels;

-- name: update
UPDATE performance_metrics SET value = $2 WHERE id = $1;

-- name: delete
DELETE FROM performance_metrics WHERE id = $1;

-- name: count
SELECT count(*) FROM performance_metrics;

-- name: is_visible
SELECT EXISTS (SELECT FROM performance_metrics WHERE id = $1);

-- name: clear
TRUNCATE performance_metrics;
