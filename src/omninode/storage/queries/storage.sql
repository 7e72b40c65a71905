-- name: ping
SELECT 1;

-- name: applied_versions
SELECT version, name, sha256 FROM schema_migrations ORDER BY version;

-- name: record_migration
INSERT INTO schema_migrations (version, name, sha256, duration_ms) VALUES ($1, $2, $3, $4);

-- name: create_migrations_table
CREATE TABLE IF NOT EXISTS schema_migrations (
    version      integer PRIMARY KEY,
    name         text NOT NULL,
    sha256       text NOT NULL,
    applied_at   timestamptz NOT NULL DEFAULT now(),
    duration_ms  bigint NOT NULL
);

-- name: try_migration_lock
SELECT pg_try_advisory_lock(4711, 1);

-- name: release_migration_lock
SELECT pg_advisory_unlock(4711, 1);

-- name: has_migrations_table
SELECT to_regclass('schema_migrations') IS NOT NULL;

-- name: other_sessions
SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid();
