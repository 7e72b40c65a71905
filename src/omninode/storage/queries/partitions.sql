-- The children of the partitioned tables; names come from the catalogue and from storage/partitions.py.

-- name: children
-- Every child of the tables $1 with the ids it is for; NULL, NULL for the DEFAULT child.
SELECT parent.relname AS parent, child.relname AS child,
       (regexp_match(bounds.expression, 'FROM \(''([0-9a-f-]+)''\)'))[1]::uuid AS low,
       (regexp_match(bounds.expression, 'TO \(''([0-9a-f-]+)''\)'))[1]::uuid AS high
FROM pg_inherits
JOIN pg_class AS parent ON parent.oid = pg_inherits.inhparent
JOIN pg_class AS child ON child.oid = pg_inherits.inhrelid
JOIN pg_namespace AS space ON space.oid = parent.relnamespace
CROSS JOIN LATERAL (SELECT pg_get_expr(child.relpartbound, child.oid) AS expression) AS bounds
WHERE parent.relkind = 'p' AND parent.relname = ANY ($1::text[]) AND space.nspname = current_schema()
ORDER BY parent.relname, low NULLS LAST;

-- name: try_lock
-- Held to the end of the transaction. Making and dropping children is one process's work at a time.
SELECT pg_try_advisory_xact_lock(4711, 2);

-- name: add_child
SELECT omn_add_child($1, $2, $3);

-- name: wait_briefly
SET LOCAL lock_timeout = '2s';

-- name: expire_runs
DELETE FROM runs WHERE id IN (
    SELECT id FROM runs WHERE started_at < $1 AND status <> 'running' ORDER BY started_at LIMIT $2);

-- name: expire_alerts
DELETE FROM alerts WHERE id IN (SELECT id FROM alerts WHERE ts < $1 ORDER BY ts LIMIT $2);

-- name: expire_dead_letters
DELETE FROM dead_letters WHERE id IN (SELECT id FROM dead_letters WHERE ts < $1 ORDER BY ts LIMIT $2);

-- name: expire_context_learning
-- Its ids are made with its rows, so their order is that of time.
DELETE FROM context_learning WHERE id IN (
    SELECT id FROM context_learning WHERE id < omn_floor($1) AND ts < $1 ORDER BY id LIMIT $2);
