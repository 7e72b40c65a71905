-- What the server itself counts of the statements it runs, where an administrator lets it.

-- name: has_statements
SELECT to_regclass('pg_stat_statements') IS NOT NULL AND current_setting('shared_preload_libraries') LIKE '%pg_stat_statements%';

-- name: statements
SELECT s.query, sum(s.calls)::bigint AS calls, sum(s.total_exec_time) AS total_ms, max(s.max_exec_time) AS max_ms,
       extract(epoch FROM now() - (SELECT stats_reset FROM pg_stat_statements_info))::double precision / 3600 AS hours
FROM pg_stat_statements s
JOIN pg_database d ON d.oid = s.dbid AND d.datname = current_database()
WHERE s.query NOT LIKE '<insufficient privilege>%'
GROUP BY s.query
ORDER BY sum(s.total_exec_time) DESC
LIMIT $1;

-- name: inserts
-- Rows that came into a table (its children together) in an hour, since the counters of the database began.
SELECT coalesce(sum(s.n_tup_ins), 0)::double precision
       / greatest(extract(epoch FROM now() - coalesce((SELECT stats_reset FROM pg_stat_database
                                                       WHERE datname = current_database()),
                                                      pg_postmaster_start_time()))::double precision / 3600, 1.0 / 60)
FROM pg_stat_user_tables s
WHERE coalesce(pg_partition_root(s.relid)::oid, s.relid) = $1::text::regclass::oid;

-- name: heap_bytes
SELECT sum(pg_relation_size(t.oid))::bigint
FROM (SELECT $1::text::regclass::oid AS oid UNION SELECT relid FROM pg_partition_tree($1::text::regclass)) t;

-- name: has_hypothetical_indexes
SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'hypopg')
       AND (SELECT relkind = 'r' FROM pg_class WHERE oid = $1::text::regclass);

-- name: plans
SELECT fingerprint, shape, cost FROM statement_plans WHERE fingerprint = ANY ($1::text[]);

-- name: keep_plan
INSERT INTO statement_plans (fingerprint, statement, shape, cost, seen_at) VALUES ($1, $2, $3, $4, now())
ON CONFLICT (fingerprint) DO UPDATE SET shape = excluded.shape, cost = excluded.cost, seen_at = excluded.seen_at;

-- name: forget_plans
DELETE FROM statement_plans WHERE seen_at < now() - interval '30 days';

-- name: add_times
INSERT INTO statement_times (statement, calls, total_ms, max_ms)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::double precision[], $4::double precision[])
ON CONFLICT (statement) DO UPDATE SET calls = statement_times.calls + excluded.calls,
    total_ms = statement_times.total_ms + excluded.total_ms, max_ms = greatest(statement_times.max_ms, excluded.max_ms),
    seen_at = now();

-- name: times
SELECT statement, calls, total_ms, max_ms, extract(epoch FROM now() - first_seen)::double precision / 3600 AS hours
FROM statement_times;

-- name: forget_times
-- A month without a call, and counts that are so old that they say little about today.
DELETE FROM statement_times WHERE seen_at < now() - interval '30 days' OR first_seen < now() - interval '90 days';
