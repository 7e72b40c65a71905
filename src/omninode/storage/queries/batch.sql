-- name: log
INSERT INTO batch_operation_logs (id, ts, table_name, operation, method, rows_ok, rows_failed, batches, duration_ms, error)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- name: bury
INSERT INTO dead_letters (id, ts, table_name, operation, sqlstate, error, row)
SELECT id, $2, $3, $4, sqlstate, error, row
FROM unnest($1::uuid[], $5::text[], $6::text[], $7::jsonb[]) AS bad (id, sqlstate, error, row);
