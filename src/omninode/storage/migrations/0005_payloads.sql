-- What was sent to a model and what it answered, when the settings ask for it: in a table of its own, because it is large,
-- tells more than anything else, and is kept for days where the facts of the call are kept for months.
-- The id is that of the call.
CREATE TABLE llm_payloads (
    id        uuid NOT NULL PRIMARY KEY,
    ts        timestamptz NOT NULL,
    run_id    uuid,
    request   jsonb NOT NULL,
    response  text
) PARTITION BY RANGE (id);
CREATE TABLE llm_payloads_default PARTITION OF llm_payloads DEFAULT;
CREATE INDEX llm_payloads_brin ON llm_payloads USING brin (ts);
CREATE INDEX llm_payloads_run ON llm_payloads (run_id);

DO $$
BEGIN
    FOR n IN 0..3 LOOP
        PERFORM omn_add_child('llm_payloads', date_trunc('day', now(), 'UTC') + n * interval '1 day',
                              date_trunc('day', now(), 'UTC') + (n + 1) * interval '1 day');
    END LOOP;
END
$$;
