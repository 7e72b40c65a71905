-- name: status
-- The server's version, the database's size, its connections, and the schema's version.
SELECT 'PostgreSQL ' || current_setting('server_version') AS server,
       pg_size_pretty(pg_database_size(current_database())) AS size,
       (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()) AS connections,
       (SELECT max(version) FROM schema_migrations) AS version;
