-- How far each spool has come. One row a spool: its records are written in order, whatever their tables.

-- name: advance
UPDATE ingest_offset SET position = $3 WHERE spool_id = $1 AND table_id = '*' AND position = $2;

-- name: begin
INSERT INTO ingest_offset (spool_id, table_id, position) VALUES ($1, '*', $2)
ON CONFLICT (spool_id, table_id) DO UPDATE SET position = greatest(ingest_offset.position, excluded.position)
RETURNING position;

-- name: position
SELECT position FROM ingest_offset WHERE spool_id = $1 AND table_id = '*';

-- name: forget
DELETE FROM ingest_offset WHERE spool_id = $1;
