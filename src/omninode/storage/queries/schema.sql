-- name: status
-- The server's version, the database's size, its connections, and the schema's version. `sharing` counts the processes
-- that listen for each other's breakers, by the lock that each of them holds (state.stay).
SELECT 'PostgreSQL ' || current_setting('server_version') AS server,
       pg_size_pretty(pg_database_size(current_database())) AS size,
       (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()) AS connections,
       (SELECT count(DISTINCT objid) FROM pg_locks
         WHERE locktype = 'advisory' AND classid = 4712
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) AS sharing,
       (SELECT max(version) FROM schema_migrations) AS version;

-- name: activity
-- What clients of this database do now, longest transaction first; ours is left out.
SELECT a.pid,
       coalesce(a.application_name, '') AS application,
       a.state,
       coalesce(round(extract(epoch FROM now() - a.xact_start), 1), 0)::float8 AS transaction_s,
       pg_blocking_pids(a.pid) AS waits_for,
       coalesce(a.wait_event_type || ' ' || a.wait_event, '') AS waits_on,
       left(regexp_replace(a.query, '\s+', ' ', 'g'), 200) AS statement
FROM pg_stat_activity AS a
WHERE a.datname = current_database() AND a.backend_type = 'client backend' AND a.pid <> pg_backend_pid()
ORDER BY a.xact_start NULLS LAST, a.pid
LIMIT 100;

-- name: capacity
-- How many connections there may be, how many of them ordinary users do not get, and the name of each of ours.
SELECT current_setting('max_connections')::int AS max_connections,
       current_setting('superuser_reserved_connections')::int
           + coalesce(current_setting('reserved_connections', true)::int, 0) AS reserved,
       ARRAY(SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'omninode%') AS names;
