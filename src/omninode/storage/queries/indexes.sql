-- Which indexes are missing: those behind foreign keys, and those that lead with a column everybody looks up by.

-- name: missing_foreign_keys
SELECT n.nspname AS schema, c.relname AS "table", con.conname AS reason,
       (SELECT array_agg(a.attname::text ORDER BY k.place)
        FROM unnest(con.conkey) WITH ORDINALITY AS k (attnum, place)
        JOIN pg_attribute a ON a.attrelid = con.conrelid AND a.attnum = k.attnum) AS columns
FROM pg_constraint con
JOIN pg_class c ON c.oid = con.conrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE con.contype = 'f' AND con.conparentid = 0 AND c.relkind IN ('r', 'p') AND NOT c.relispartition
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
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND NOT a.attisdropped AND a.attnum > 0
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

-- name: faults
-- An index of a partitioned table stands for its children: their reads and sizes are added up.
WITH wholes AS (
    SELECT i.indexrelid, i.indrelid, i.indkey::smallint[] AS keys, i.indisvalid, i.indisunique, i.indpred, i.indexprs,
           i.indclass::oid[] AS classes, i.indoption::smallint[] AS options, c.relname AS index, c.relkind, c.relam,
           n.nspname AS schema, t.relname AS "table",
           (SELECT coalesce(sum(s.idx_scan), 0) FROM pg_stat_user_indexes s
            WHERE s.indexrelid = c.oid OR pg_partition_root(s.indexrelid)::oid = c.oid) AS reads,
           (SELECT coalesce(sum(pg_relation_size(x.oid)), 0)
            FROM (SELECT c.oid UNION SELECT relid FROM pg_partition_tree(c.oid)) x)::bigint AS size_bytes
    FROM pg_index i
    JOIN pg_class c ON c.oid = i.indexrelid
    JOIN pg_class t ON t.oid = i.indrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = ANY (current_schemas(false)) AND NOT c.relispartition
), since AS (
    SELECT greatest(0, extract(epoch FROM now() - coalesce(stats_reset, pg_postmaster_start_time())) / 86400)::integer
           AS days
    FROM pg_stat_database WHERE datname = current_database()
), found AS (
    SELECT 'invalid' AS fault, w.*, 'its build was interrupted' AS detail FROM wholes w WHERE NOT w.indisvalid
    UNION ALL
    SELECT 'covered', w.*, format('%I begins with the same columns', o.index)
    FROM wholes w
    JOIN LATERAL (
        SELECT o.index FROM wholes o
        WHERE o.indrelid = w.indrelid AND o.indexrelid <> w.indexrelid AND o.indisvalid AND o.relam = w.relam
          AND o.indpred IS NULL AND o.indexprs IS NULL
          -- Slices on both sides: these arrays begin at 0, a slice at 1, and that too makes arrays differ.
          AND o.keys[0:cardinality(w.keys) - 1] = w.keys[0:cardinality(w.keys) - 1]
          AND o.classes[0:cardinality(w.keys) - 1] = w.classes[0:cardinality(w.keys) - 1]
          AND o.options[0:cardinality(w.keys) - 1] = w.options[0:cardinality(w.keys) - 1]
          AND (cardinality(o.keys) > cardinality(w.keys) OR o.indisunique OR o.indexrelid < w.indexrelid)
        ORDER BY o.indisunique DESC, o.index LIMIT 1) o ON true
    WHERE w.indisvalid AND NOT w.indisunique AND w.indpred IS NULL AND w.indexprs IS NULL
    UNION ALL
    SELECT 'unused', w.*, format('not read once in %s days', since.days)
    FROM wholes w, since
    WHERE w.indisvalid AND NOT w.indisunique AND w.reads = 0 AND since.days >= $1::integer
    UNION ALL
    SELECT 'scattered', w.*, format('correlation %s of %I', round(s.correlation::numeric, 2), s.attname)
    FROM wholes w
    JOIN pg_am m ON m.oid = w.relam AND m.amname = 'brin'
    JOIN pg_attribute a ON a.attrelid = w.indrelid AND a.attnum = w.keys[0]
    JOIN pg_stats s ON s.schemaname = w.schema AND s.tablename = w."table" AND s.attname = a.attname
    WHERE NOT s.inherited AND abs(s.correlation) < 0.9
)
SELECT fault, schema, "table", index, detail, size_bytes, relkind = 'I' AS is_whole
FROM found
ORDER BY array_position(ARRAY['invalid', 'covered', 'scattered', 'unused'], fault), size_bytes DESC, index;

-- name: is_partitioned
SELECT relkind = 'p' FROM pg_class WHERE oid = $1::text::regclass;

-- name: children
SELECT c.relname::text AS name
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = $1::text::regclass
ORDER BY 1;

-- name: with_children
SELECT c.relname::text AS name
FROM pg_class c
WHERE c.oid IN (SELECT x.oid FROM pg_class x JOIN pg_namespace n ON n.oid = x.relnamespace
                WHERE n.nspname = $1 AND x.relname = $2
                UNION ALL
                SELECT i.inhrelid FROM pg_inherits i JOIN pg_class x ON x.oid = i.inhparent
                JOIN pg_namespace n ON n.oid = x.relnamespace WHERE n.nspname = $1 AND x.relname = $2);
