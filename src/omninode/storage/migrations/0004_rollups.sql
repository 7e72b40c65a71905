-- Summaries per minute (for two days) and per hour (for a year): what every chart reads instead of the facts.
--
-- Each table answers one question, by two dimensions at most. `writer_id` is in the key, so that no two processes touch
-- one row; a reader adds them up. Written in the transaction of the rows they count: see storage/rollup.py.

-- A histogram is one number: the digits, twelve at a time, are the counts of its buckets. Adding numbers adds
-- histograms, and sum() merges them. The bucket of a value, five per cent wide on both sides; 0 for next to nothing:
CREATE FUNCTION omn_bucket(value double precision) RETURNS integer
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE WHEN value < 0.0025 THEN 0
                ELSE least(359, greatest(1, 60 + ceil(ln(least(value, 1e14)) / ln(1.05 / 0.95)))::integer) END
$$;

-- The histogram of one value.
CREATE FUNCTION omn_histogram(value double precision) RETURNS numeric
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT ('1e' || 12 * omn_bucket(value))::numeric
$$;

-- Which rows answer a question about the time since a moment: minutes, as long as they are kept.
CREATE FUNCTION omn_grain(since timestamptz) RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE WHEN since >= now() - interval '47 hours' THEN 'minute' ELSE 'hour' END
$$;

-- The beginning of the minute or hour that `since` lies in.
CREATE FUNCTION omn_first_bucket(since timestamptz) RETURNS timestamptz
LANGUAGE sql STABLE STRICT PARALLEL SAFE AS $$
    SELECT date_trunc(omn_grain(since), since, 'UTC')
$$;

CREATE TABLE rollup_calls (
    grain            text NOT NULL,
    bucket           timestamptz NOT NULL,
    deployment       text NOT NULL,
    model            text NOT NULL,
    provider         text NOT NULL,
    writer_id        uuid NOT NULL,
    n                bigint NOT NULL,
    ok               bigint NOT NULL,
    stopped          bigint NOT NULL,
    cached           bigint NOT NULL,
    degraded         bigint NOT NULL,
    retried          bigint NOT NULL,
    recovered        bigint NOT NULL,
    simulated        bigint NOT NULL,
    attempts         bigint NOT NULL,
    tokens_in        bigint NOT NULL,
    tokens_out       bigint NOT NULL,
    cost_uusd        bigint NOT NULL,
    unpriced         bigint NOT NULL,
    unpriced_ok      bigint NOT NULL,
    unpriced_tokens  bigint NOT NULL,
    paid             bigint NOT NULL,
    paid_uusd        bigint NOT NULL,
    latency          numeric NOT NULL,
    last_at          timestamptz NOT NULL,
    PRIMARY KEY (grain, bucket, deployment, model, provider, writer_id)
) PARTITION BY LIST (grain);

CREATE TABLE rollup_spend (
    grain            text NOT NULL,
    bucket           timestamptz NOT NULL,
    role             text NOT NULL,
    agent_id         text NOT NULL,
    model            text NOT NULL,
    writer_id        uuid NOT NULL,
    n                bigint NOT NULL,
    ok               bigint NOT NULL,
    stopped          bigint NOT NULL,
    cached           bigint NOT NULL,
    tokens_in        bigint NOT NULL,
    tokens_out       bigint NOT NULL,
    cost_uusd        bigint NOT NULL,
    unpriced         bigint NOT NULL,
    unpriced_tokens  bigint NOT NULL,
    paid             bigint NOT NULL,
    paid_uusd        bigint NOT NULL,
    PRIMARY KEY (grain, bucket, role, agent_id, model, writer_id)
) PARTITION BY LIST (grain);

CREATE TABLE rollup_degraded (
    grain       text NOT NULL,
    bucket      timestamptz NOT NULL,
    degraded    text NOT NULL,
    deployment  text NOT NULL,
    writer_id   uuid NOT NULL,
    n           bigint NOT NULL,
    last_at     timestamptz NOT NULL,
    PRIMARY KEY (grain, bucket, degraded, deployment, writer_id)
) PARTITION BY LIST (grain);

CREATE TABLE rollup_metrics (
    grain       text NOT NULL,
    bucket      timestamptz NOT NULL,
    metric      text NOT NULL,
    phase       text NOT NULL,
    writer_id   uuid NOT NULL,
    n           bigint NOT NULL,
    failed      bigint NOT NULL,
    total       double precision NOT NULL,
    lowest      double precision NOT NULL,
    highest     double precision NOT NULL,
    latency     numeric NOT NULL,
    last_at     timestamptz NOT NULL,
    last_value  double precision NOT NULL,
    PRIMARY KEY (grain, metric, bucket, phase, writer_id)
) PARTITION BY LIST (grain);

CREATE TABLE rollup_agents (
    grain        text NOT NULL,
    bucket       timestamptz NOT NULL,
    agent_id     text NOT NULL,
    task_type    text NOT NULL,
    writer_id    uuid NOT NULL,
    n            bigint NOT NULL,
    successes    bigint NOT NULL,
    duration_ms  bigint NOT NULL,
    tokens_in    bigint NOT NULL,
    tokens_out   bigint NOT NULL,
    cost_uusd    bigint NOT NULL,
    unpriced     bigint NOT NULL,
    latency      numeric NOT NULL,
    first_at     timestamptz NOT NULL,
    last_at      timestamptz NOT NULL,
    PRIMARY KEY (grain, bucket, agent_id, task_type, writer_id)
) PARTITION BY LIST (grain);

CREATE TABLE rollup_agent_errors (
    grain        text NOT NULL,
    bucket       timestamptz NOT NULL,
    agent_id     text NOT NULL,
    error_class  text NOT NULL,
    writer_id    uuid NOT NULL,
    n            bigint NOT NULL,
    PRIMARY KEY (grain, agent_id, bucket, error_class, writer_id)
) PARTITION BY LIST (grain);

CREATE TABLE rollup_errors (
    grain        text NOT NULL,
    bucket       timestamptz NOT NULL,
    fingerprint  text NOT NULL,
    phase        text NOT NULL,
    writer_id    uuid NOT NULL,
    n            bigint NOT NULL,
    retryable    bigint NOT NULL,
    first_at     timestamptz NOT NULL,
    last_at      timestamptz NOT NULL,
    PRIMARY KEY (grain, bucket, fingerprint, phase, writer_id)
) PARTITION BY LIST (grain);
CREATE INDEX rollup_errors_fingerprint ON rollup_errors (fingerprint, bucket);

-- By the moment a run started; a run that is not over is not in it.
CREATE TABLE rollup_runs (
    grain      text NOT NULL,
    bucket     timestamptz NOT NULL,
    status     text NOT NULL,
    workspace  text NOT NULL,
    writer_id  uuid NOT NULL,
    n          bigint NOT NULL,
    simulated  bigint NOT NULL,
    latency    numeric NOT NULL,
    last_at    timestamptz NOT NULL,
    PRIMARY KEY (grain, bucket, status, workspace, writer_id)
) PARTITION BY LIST (grain);
CREATE INDEX runs_running ON runs (started_at DESC) WHERE status = 'running';

DO $$
DECLARE
    rollup text;
    grain text;
BEGIN
    FOREACH rollup IN ARRAY ARRAY['rollup_calls', 'rollup_spend', 'rollup_degraded', 'rollup_metrics', 'rollup_agents',
                                  'rollup_agent_errors', 'rollup_errors', 'rollup_runs']
    LOOP
        FOREACH grain IN ARRAY ARRAY['minute', 'hour'] LOOP
            EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES IN (%L)', rollup || '_' || grain, rollup, grain);
        END LOOP;
    END LOOP;
END
$$;

-- Make the rollups of the time since `since` again from the facts that are still there, for facts that were written
-- past them. Writers wait meanwhile: one that has counted its rows is done, another counts them afterwards.
CREATE FUNCTION omn_rebuild_rollups(since timestamptz) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    g text;
    start timestamptz;
    nobody uuid := '00000000-0000-0000-0000-000000000000';
BEGIN
    LOCK TABLE rollup_calls, rollup_spend, rollup_degraded, rollup_metrics, rollup_agents, rollup_agent_errors,
               rollup_errors, rollup_runs IN EXCLUSIVE MODE;
    FOREACH g IN ARRAY ARRAY['minute', 'hour'] LOOP
        start := date_trunc(g, CASE g WHEN 'minute' THEN greatest(since, now() - interval '48 hours') ELSE since END, 'UTC');

        DELETE FROM rollup_calls WHERE grain = g AND bucket >= start;
        INSERT INTO rollup_calls
        SELECT g, date_trunc(g, ts, 'UTC') AS b, left(deployment, 200), left(model, 200), left(provider, 200), nobody,
               count(*), count(*) FILTER (WHERE ok), count(*) FILTER (WHERE stopped), count(*) FILTER (WHERE hit),
               count(degraded), count(*) FILTER (WHERE attempts > 1), count(*) FILTER (WHERE attempts > 1 AND ok),
               count(*) FILTER (WHERE is_simulated), sum(attempts), sum(tokens_in), sum(tokens_out),
               coalesce(sum(cost_uusd) FILTER (WHERE NOT hit), 0), count(*) FILTER (WHERE unpriced),
               count(*) FILTER (WHERE ok AND cost_uusd IS NULL),
               coalesce(sum(tokens_in + tokens_out) FILTER (WHERE unpriced), 0),
               count(*) FILTER (WHERE paid), coalesce(sum(cost_uusd) FILTER (WHERE paid), 0),
               coalesce(sum(omn_histogram(duration_ms)) FILTER (WHERE NOT hit AND NOT stopped), 0), max(ts)
        FROM llm_calls,
             LATERAL (SELECT cache IN ('hit', 'shared') AS hit,
                             NOT ok AND error_class IS NOT DISTINCT FROM 'CancelledError' AS stopped) AS how,
             LATERAL (SELECT cost_uusd IS NULL AND NOT hit AND NOT stopped AS unpriced,
                             cost_uusd IS NOT NULL AND ok AND NOT hit AS paid) AS price
        WHERE ts >= start
        GROUP BY b, 3, 4, 5;

        DELETE FROM rollup_spend WHERE grain = g AND bucket >= start;
        INSERT INTO rollup_spend
        SELECT g, date_trunc(g, ts, 'UTC') AS b, left(role, 200), left(coalesce(agent_id, ''), 200), left(model, 200), nobody,
               count(*), count(*) FILTER (WHERE ok), count(*) FILTER (WHERE stopped), count(*) FILTER (WHERE hit),
               sum(tokens_in), sum(tokens_out), coalesce(sum(cost_uusd) FILTER (WHERE NOT hit), 0),
               count(*) FILTER (WHERE unpriced), coalesce(sum(tokens_in + tokens_out) FILTER (WHERE unpriced), 0),
               count(*) FILTER (WHERE paid), coalesce(sum(cost_uusd) FILTER (WHERE paid), 0)
        FROM llm_calls,
             LATERAL (SELECT cache IN ('hit', 'shared') AS hit,
                             NOT ok AND error_class IS NOT DISTINCT FROM 'CancelledError' AS stopped) AS how,
             LATERAL (SELECT cost_uusd IS NULL AND NOT hit AND NOT stopped AS unpriced,
                             cost_uusd IS NOT NULL AND ok AND NOT hit AS paid) AS price
        WHERE ts >= start
        GROUP BY b, 3, 4, 5;

        DELETE FROM rollup_degraded WHERE grain = g AND bucket >= start;
        INSERT INTO rollup_degraded
        SELECT g, date_trunc(g, ts, 'UTC') AS b, left(degraded, 200), left(deployment, 200), nobody, count(*), max(ts)
        FROM llm_calls
        WHERE ts >= start AND degraded IS NOT NULL
        GROUP BY b, 3, 4;

        DELETE FROM rollup_metrics WHERE grain = g AND bucket >= start;
        INSERT INTO rollup_metrics
        SELECT g, date_trunc(g, ts, 'UTC') AS b, left(metric, 200), left(coalesce(phase, ''), 200), nobody,
               count(*), count(*) FILTER (WHERE NOT ok), sum(value), min(value), max(value), sum(omn_histogram(value)),
               max(ts), (array_agg(value ORDER BY ts DESC))[1]
        FROM performance_metrics
        WHERE ts >= start
        GROUP BY b, 3, 4;

        DELETE FROM rollup_agents WHERE grain = g AND bucket >= start;
        INSERT INTO rollup_agents
        SELECT g, date_trunc(g, ts, 'UTC') AS b, left(agent_id, 200), left(task_type, 200), nobody,
               count(*), count(*) FILTER (WHERE success), sum(duration_ms), sum(tokens_in), sum(tokens_out),
               coalesce(sum(cost_uusd), 0), count(*) FILTER (WHERE cost_uusd IS NULL), sum(omn_histogram(duration_ms)),
               min(ts), max(ts)
        FROM agent_performance
        WHERE ts >= start
        GROUP BY b, 3, 4;

        DELETE FROM rollup_agent_errors WHERE grain = g AND bucket >= start;
        INSERT INTO rollup_agent_errors
        SELECT g, date_trunc(g, ts, 'UTC') AS b, left(agent_id, 200), left(error_class, 200), nobody, count(*)
        FROM agent_performance
        WHERE ts >= start AND NOT success AND error_class IS NOT NULL
        GROUP BY b, 3, 4;

        DELETE FROM rollup_errors WHERE grain = g AND bucket >= start;
        INSERT INTO rollup_errors
        SELECT g, date_trunc(g, ts, 'UTC') AS b, left(fingerprint, 200), left(coalesce(phase, ''), 200), nobody,
               count(*), count(*) FILTER (WHERE retryable), min(ts), max(ts)
        FROM error_events
        WHERE ts >= start
        GROUP BY b, 3, 4;

        DELETE FROM rollup_runs WHERE grain = g AND bucket >= start;
        INSERT INTO rollup_runs
        SELECT g, date_trunc(g, started_at, 'UTC') AS b, status, left(coalesce(workspace, ''), 200), nobody,
               count(*), count(*) FILTER (WHERE is_simulated), coalesce(sum(omn_histogram(duration_ms)), 0),
               max(coalesce(finished_at, started_at))
        FROM runs
        WHERE started_at >= start AND status <> 'running'
        GROUP BY b, 3, 4;
    END LOOP;
END
$$;

SELECT omn_rebuild_rollups(now() - interval '400 days');

-- What these found is found in the rollups now, or by the primary key, which is in the order of time.
DROP INDEX llm_calls_ts, llm_calls_model, error_events_ts, agent_performance_ts, batch_operation_logs_ts;
