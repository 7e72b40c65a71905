-- What the database says about its own tables: the only source of identifiers in generated statements.

-- name: tables
SELECT c.oid, n.nspname AS schema, c.relname AS name, c.relkind::text AS kind
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE lower(c.relname) = lower($1)
  AND CASE WHEN $2::text IS NULL THEN n.nspname = ANY (current_schemas(false)) ELSE lower(n.nspname) = lower($2) END
  AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
ORDER BY (c.relname = $1) DESC, array_position(current_schemas(false), n.nspname), c.relname;

-- name: columns
SELECT a.attname AS name,
       format_type(coalesce(nullif(t.typbasetype, 0), t.oid), NULL) AS cast_type,
       format_type(a.atttypid, a.atttypmod) AS shown_type,
       base.typname AS type,
       element.typname AS element_type,
       a.attnotnull AS is_required,
       a.atthasdef OR a.attidentity <> '' AS has_default,
       a.attgenerated <> '' OR a.attidentity = 'a' AS is_generated,
       CASE WHEN base.typname IN ('varchar', 'bpchar')
            THEN nullif(CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END, -1) - 4 END AS max_length,
       (SELECT array_agg(e.enumlabel::text) FROM pg_enum e WHERE e.enumtypid = base.oid) AS labels
FROM pg_attribute a
JOIN pg_type t ON t.oid = a.atttypid
JOIN pg_type base ON base.oid = coalesce(nullif(t.typbasetype, 0), t.oid)
LEFT JOIN pg_type element ON element.oid = base.typelem AND base.typcategory = 'A'
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum;

-- name: unique_keys
SELECT array_agg(a.attname::text ORDER BY a.attnum) AS columns
FROM pg_index i
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::smallint[])
WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
  AND i.indnkeyatts = i.indnatts
GROUP BY i.indexrelid;
