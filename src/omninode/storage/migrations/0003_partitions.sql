-- Facts by time: tables that only grow are partitioned on their id, which begins with the moment it was made.
-- PRIMARY KEY (id) and ON CONFLICT (id) stay as they were, and ending the life of old rows is dropping a table.

-- The smallest version 7 id of a moment; a bound of partitions, and what a question about time compares ids with.
CREATE FUNCTION omn_floor(moment timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT (lpad(to_hex(greatest(0, floor(extract(epoch FROM moment) * 1000))::bigint), 12, '0')
            || '70008000000000000000')::uuid
$$;

-- The same, an hour earlier: clocks of machines differ, and a row may be given its id before its time.
-- There is no such bound from above: a row that tells of the past may have got its id today.
CREATE FUNCTION omn_since(moment timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT omn_floor(to_timestamp(extract(epoch FROM moment) - 3600))
$$;

-- When a version 7 id was made; NULL for any other id.
CREATE FUNCTION omn_time(id uuid) RETURNS timestamptz
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE WHEN substr(id::text, 15, 1) = '7'
                THEN to_timestamp(('x0000' || substr(replace(id::text, '-', ''), 1, 12))::bit(64)::bigint / 1000.0) END
$$;

-- No row of a run has a smaller id than this (none at all, when the run's own id says nothing of its time).
CREATE FUNCTION omn_run_since(run_id uuid) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT coalesce(omn_since(omn_time(run_id)), '00000000-0000-0000-0000-000000000000')
$$;

-- Make the child of `parent` for ids of [since, until); rows of that time that waited in the DEFAULT child move there.
CREATE FUNCTION omn_add_child(parent text, since timestamptz, until timestamptz) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    child text := parent || '_p' || to_char(since AT TIME ZONE 'UTC', 'YYYYMMDD');
    low uuid := omn_floor(since);
    high uuid := omn_floor(until);
BEGIN
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES)', child, parent);
    EXECUTE format('WITH moved AS (DELETE FROM %I WHERE id >= %L AND id < %L RETURNING *) INSERT INTO %I SELECT * FROM moved',
                   parent || '_default', low, high, child);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, child, low, high);
    RETURN child;
END
$$;

-- One child a day where there are many rows or they live for days only; one a week elsewhere, because a question that
-- cannot tell the time of its rows looks into every child. Only children that get rows are made for the past.
DO $$
DECLARE
    fact record;
    child_begin timestamptz;
BEGIN
    FOR fact IN
        SELECT * FROM (VALUES ('performance_metrics', interval '1 day'), ('llm_calls', interval '7 days'),
                              ('agent_performance', interval '7 days'), ('error_events', interval '7 days'),
                              ('tasks', interval '7 days'), ('votes', interval '7 days'),
                              ('batch_operation_logs', interval '7 days')) AS facts (name, width)
    LOOP
        EXECUTE format('ALTER TABLE %I RENAME TO %I', fact.name, fact.name || '_0001');
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS) PARTITION BY RANGE (id)',
                       fact.name, fact.name || '_0001');
        EXECUTE format('CREATE TABLE %I PARTITION OF %I DEFAULT', fact.name || '_default', fact.name);
        FOR child_begin IN
            EXECUTE format('SELECT DISTINCT date_bin($1, omn_time(id), ''epoch'') FROM %I
                            WHERE omn_time(id) BETWEEN now() - interval ''400 days'' AND now()
                            UNION SELECT date_bin($1, now(), ''epoch'') + n * $1 FROM generate_series(0, 3) AS n
                            ORDER BY 1', fact.name || '_0001') USING fact.width
        LOOP
            PERFORM omn_add_child(fact.name, child_begin, child_begin + fact.width);
        END LOOP;
        EXECUTE format('INSERT INTO %I SELECT * FROM %I', fact.name, fact.name || '_0001');
        EXECUTE format('DROP TABLE %I', fact.name || '_0001');
        EXECUTE format('ALTER TABLE %I ADD PRIMARY KEY (id)', fact.name);
        EXECUTE format('CREATE INDEX %I ON %I USING brin (ts)', fact.name || '_brin', fact.name);
    END LOOP;
END
$$;

CREATE INDEX tasks_run ON tasks (run_id);
CREATE INDEX llm_calls_run ON llm_calls (run_id);
CREATE INDEX llm_calls_ts ON llm_calls (ts DESC);
CREATE INDEX llm_calls_model ON llm_calls (model, ts DESC);
CREATE INDEX votes_run ON votes (run_id);
CREATE INDEX error_events_fingerprint ON error_events (fingerprint, ts DESC);
CREATE INDEX error_events_ts ON error_events (ts DESC);
CREATE INDEX error_events_run ON error_events (run_id);
CREATE INDEX agent_performance_agent ON agent_performance (agent_id, ts DESC);
CREATE INDEX agent_performance_type ON agent_performance (task_type, ts DESC);
CREATE INDEX agent_performance_ts ON agent_performance (ts DESC);
CREATE INDEX agent_performance_run ON agent_performance (run_id);
CREATE INDEX performance_metrics_run ON performance_metrics (run_id);
CREATE INDEX performance_metrics_metric ON performance_metrics (metric, ts DESC);
CREATE INDEX batch_operation_logs_ts ON batch_operation_logs (ts DESC);
