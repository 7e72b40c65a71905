-- Which indexes are missing: those behind foreign keys, and those that lead with a column everybody looks up by.

-- name: missing_foreign_keys
SELECT n.nspname AS schema, c.relname AS "table", con.conname AS reason,
       (SELECT array_agg(a.attname::text ORDER BY k.place)
        FROM unnest(con.conkey) WITH ORDINALITY AS k (attnum, place)
        JOIN pg_attribute a ON a.attrelid = con.conrelid AND a.attnum = k.attnum) AS columns
FROM pg_constraint con
JOIN pg_class c ON c.oid = con.conrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE con.contype = 'f' AND con.conparentid = 0 AND c.relkind = 'r' AND NOT c.relispartition
  AND n.nspname = ANY (current_schemas(false))
  AND NOT EXISTS (
      SELECT FROM pg_index i
      WHERE i.indrelid = con.conrelid AND i.indisvalid AND i.indpred IS NULL
        AND (i.indkey::smallint[])[0:cardinality(con.conkey) - 1] @> con.conkey)
ORDER BY 1, 2, 3;

-- name: missing_lookups
SELECT n.nspname AS schema, c.relname AS "table", a.attname AS column
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND NOT c.relispartition AND NOT a.attisdropped AND a.attnum > 0
  AND a.attname = ANY ($1::text[])
  AND n.nspname = ANY (current_schemas(false))
  AND NOT EXISTS (
      SELECT FROM pg_index i
      WHERE i.indrelid = c.oid AND i.indisvalid AND i.indpred IS NULL AND (i.indkey::smallint[])[0] = a.attnum)
ORDER BY 1, 2, 3;

-- name: invalid
SELECT EXISTS (
    SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND c.relname = $2 AND NOT i.indisvalid);

-- name: stale_tables
-- A partitioned table for its children: autovacuum looks after those, and never after the whole.
SELECT n.nspname AS schema, c.relname AS "table", sum(s.n_live_tup)::bigint AS rows,
       sum(s.n_mod_since_analyze)::bigint AS changed
FROM pg_stat_user_tables s
JOIN pg_class c ON c.oid = coalesce(pg_partition_root(s.relid)::oid, s.relid)
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY (current_schemas(false)) AND s.n_mod_since_analyze > greatest(500, s.n_live_tup / 10)
GROUP BY n.nspname, c.relname
ORDER BY changed DESC
LIMIT 100;

-- name: table_rows
-- The rows of each table, with the partitioned table it is a child of (itself, when it is none).
SELECT c.relname AS "table", c.reltuples::bigint AS rows,
       coalesce(pg_partition_root(c.oid)::oid, c.oid)::regclass::text AS whole
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname = ANY (current_schemas(false));

-- name: parameter_count
SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = $1;
