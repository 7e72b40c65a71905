-- name: page
SELECT seq, id, entry, prev_hash, hash FROM audit_log WHERE seq > $1 ORDER BY seq, id LIMIT 2000;

-- name: count
SELECT count(*) FROM audit_log;

-- name: head
SELECT seq, hash FROM audit_log ORDER BY seq DESC LIMIT 1;

-- name: latest
SELECT seq, entry FROM audit_log ORDER BY seq DESC LIMIT $1;

-- name: guards
-- The triggers that stand, for every session.
SELECT tgname::text AS name FROM pg_trigger WHERE tgrelid = 'audit_log'::regclass AND NOT tgisinternal AND tgenabled = 'A';
