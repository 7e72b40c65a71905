-- What was done by hand, or refused, in an order that cannot be changed unseen: each row holds the hash of the one before.
--
-- The chain is made here and not by who writes, so that rows of any number of processes, live or from a spool, are one
-- chain without gaps. `entry` is JSON as text, because jsonb would not give back the bytes that were hashed.
-- See storage/audit.py for what this proves and what it does not.

CREATE TABLE audit_log (
    seq        bigint PRIMARY KEY,
    id         uuid NOT NULL UNIQUE,
    entry      text NOT NULL,
    prev_hash  text NOT NULL,
    hash       text NOT NULL
);

-- One writer at a time until its transaction ends; each statement of this function sees what the one before committed.
CREATE FUNCTION omn_audit_chain() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    last_seq   bigint;
    last_hash  text;
BEGIN
    PERFORM pg_advisory_xact_lock(4711, 3);
    SELECT seq, hash INTO last_seq, last_hash FROM audit_log ORDER BY seq DESC LIMIT 1;
    NEW.seq := coalesce(last_seq, 0) + 1;
    NEW.prev_hash := coalesce(last_hash, repeat('0', 64));
    NEW.hash := encode(
        sha256(convert_to(NEW.prev_hash || E'\n' || NEW.seq || E'\n' || NEW.id || E'\n' || NEW.entry, 'UTF8')), 'hex');
    RETURN NEW;
END
$$;

CREATE FUNCTION omn_audit_refuse() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit_log is only ever added to' USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE TRIGGER audit_log_chained BEFORE INSERT ON audit_log FOR EACH ROW EXECUTE FUNCTION omn_audit_chain();
CREATE TRIGGER audit_log_kept BEFORE UPDATE OR DELETE ON audit_log FOR EACH ROW EXECUTE FUNCTION omn_audit_refuse();
CREATE TRIGGER audit_log_not_emptied BEFORE TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION omn_audit_refuse();

-- Also for sessions that play the part of a replica, which other triggers leave alone.
ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_chained;
ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_kept;
ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_not_emptied;
