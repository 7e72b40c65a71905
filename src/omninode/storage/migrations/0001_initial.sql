-- The first schema: what a run did, what its parts measured, and what was learned from it.
-- Fact tables carry a version 7 UUID made by the client, so that a replayed row meets its own primary key.

CREATE TABLE runs (
    id            uuid PRIMARY KEY,
    started_at    timestamptz NOT NULL,
    finished_at   timestamptz,
    status        text NOT NULL CHECK (status IN
                  ('running', 'done', 'failed_tasks', 'refused', 'rejected', 'failed', 'cancelled', 'lost')),
    prompt        text NOT NULL,
    workspace     text,
    is_simulated  boolean NOT NULL DEFAULT false,
    duration_ms   bigint,
    error         text,
    report        jsonb
);
CREATE INDEX runs_started ON runs (started_at DESC);

CREATE TABLE tasks (
    id           uuid PRIMARY KEY,
    ts           timestamptz NOT NULL,
    run_id       uuid NOT NULL,
    task_id      text NOT NULL,
    agent_id     text NOT NULL,
    task_type    text NOT NULL,
    description  text NOT NULL,
    depends_on   text[] NOT NULL DEFAULT '{}',
    status       text NOT NULL,
    duration_ms  bigint NOT NULL,
    wait_ms      bigint NOT NULL DEFAULT 0,
    output       text,
    error        text
);
CREATE INDEX tasks_run ON tasks (run_id);

CREATE TABLE llm_calls (
    id           uuid PRIMARY KEY,
    ts           timestamptz NOT NULL,
    run_id       uuid,
    phase        text,
    task_id      text,
    agent_id     text,
    role         text NOT NULL,
    provider     text NOT NULL,
    deployment   text NOT NULL,
    model        text NOT NULL,
    ok           boolean NOT NULL,
    status       integer,
    attempts     integer NOT NULL DEFAULT 1,
    duration_ms  bigint NOT NULL,
    ttft_ms      bigint,
    tokens_in    bigint NOT NULL DEFAULT 0,
    tokens_out   bigint NOT NULL DEFAULT 0,
    cost_uusd    bigint,
    cache        text NOT NULL DEFAULT 'off',
    degraded     text,
    error_class  text,
    is_simulated boolean NOT NULL DEFAULT false
);
CREATE INDEX llm_calls_run ON llm_calls (run_id);
CREATE INDEX llm_calls_ts ON llm_calls (ts DESC);
CREATE INDEX llm_calls_model ON llm_calls (model, ts DESC);

CREATE TABLE votes (
    id            uuid PRIMARY KEY,
    ts            timestamptz NOT NULL,
    run_id        uuid,
    round         integer NOT NULL,
    deployment    text NOT NULL,
    model         text NOT NULL,
    decision      text,
    score         double precision,
    confidence    double precision,
    weight        double precision NOT NULL DEFAULT 1,
    deficiencies  text[] NOT NULL DEFAULT '{}',
    counted       boolean NOT NULL,
    duration_ms   bigint NOT NULL,
    error_class   text
);
CREATE INDEX votes_run ON votes (run_id);

CREATE TABLE error_events (
    id           uuid PRIMARY KEY,
    ts           timestamptz NOT NULL,
    run_id       uuid,
    phase        text,
    fingerprint  text NOT NULL,
    error_class  text NOT NULL,
    message      text NOT NULL,
    retryable    boolean NOT NULL,
    attempt      integer NOT NULL DEFAULT 1,
    place        text NOT NULL DEFAULT '',
    context      jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX error_events_fingerprint ON error_events (fingerprint, ts DESC);
CREATE INDEX error_events_ts ON error_events (ts DESC);
CREATE INDEX error_events_run ON error_events (run_id);

CREATE TABLE agent_performance (
    id           uuid PRIMARY KEY,
    ts           timestamptz NOT NULL,
    run_id       uuid,
    agent_id     text NOT NULL,
    task_type    text NOT NULL,
    success      boolean NOT NULL,
    duration_ms  bigint NOT NULL,
    tokens_in    bigint NOT NULL DEFAULT 0,
    tokens_out   bigint NOT NULL DEFAULT 0,
    cost_uusd    bigint,
    error_class  text,
    metadata     jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX agent_performance_agent ON agent_performance (agent_id, ts DESC);
CREATE INDEX agent_performance_type ON agent_performance (task_type, ts DESC);
CREATE INDEX agent_performance_ts ON agent_performance (ts DESC);
CREATE INDEX agent_performance_run ON agent_performance (run_id);

-- One row per measured value; a phase of a run is the metric 'phase_duration_ms', a context source 'source_duration_ms'.
CREATE TABLE performance_metrics (
    id      uuid PRIMARY KEY,
    ts      timestamptz NOT NULL,
    run_id  uuid,
    phase   text,
    metric  text NOT NULL,
    value   double precision NOT NULL,
    ok      boolean NOT NULL DEFAULT true,
    labels  jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX performance_metrics_run ON performance_metrics (run_id);
CREATE INDEX performance_metrics_metric ON performance_metrics (metric, ts DESC);

CREATE TABLE batch_operation_logs (
    id           uuid PRIMARY KEY,
    ts           timestamptz NOT NULL,
    table_name   text NOT NULL,
    operation    text NOT NULL,
    method       text NOT NULL,
    rows_ok      bigint NOT NULL,
    rows_failed  bigint NOT NULL,
    batches      integer NOT NULL,
    duration_ms  bigint NOT NULL,
    error        text
);
CREATE INDEX batch_operation_logs_ts ON batch_operation_logs (ts DESC);

-- What was gathered for a task type, whether it was used, and how the run ended.
CREATE TABLE context_learning (
    id            uuid PRIMARY KEY,
    ts            timestamptz NOT NULL,
    decision_id   uuid NOT NULL,
    run_id        uuid,
    agent_id      text,
    task_type     text NOT NULL,
    prompt_hash   text NOT NULL,
    features      real[] NOT NULL,
    source        text NOT NULL,
    context_type  text NOT NULL,
    included      boolean NOT NULL,
    propensity    real NOT NULL,
    items         integer NOT NULL DEFAULT 0,
    latency_ms    bigint NOT NULL DEFAULT 0,
    tokens        bigint NOT NULL DEFAULT 0,
    reward        real,
    reward_kind   text
);
CREATE INDEX context_learning_source ON context_learning (task_type, source, ts DESC);
CREATE INDEX context_learning_decision ON context_learning (decision_id);

-- A cache, so it need not survive a crash of the server.
CREATE UNLOGGED TABLE context_predictions (
    key_hash    text PRIMARY KEY,
    ts          timestamptz NOT NULL,
    task_type   text NOT NULL,
    predicted   jsonb NOT NULL,
    confidence  real NOT NULL,
    hits        integer NOT NULL DEFAULT 0,
    expires_at  timestamptz NOT NULL
);
CREATE INDEX context_predictions_expiry ON context_predictions (expires_at);

CREATE TABLE circuit_breaker_state (
    name          text PRIMARY KEY,
    state         text NOT NULL CHECK (state IN ('closed', 'open', 'half_open')),
    failures      integer NOT NULL DEFAULT 0,
    successes     integer NOT NULL DEFAULT 0,
    generation    bigint NOT NULL DEFAULT 0,
    opened_at     timestamptz,
    reopen_at     timestamptz,
    reason        text NOT NULL DEFAULT '',
    updated_at    timestamptz NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE retry_manager_state (
    name            text PRIMARY KEY,
    calls           bigint NOT NULL DEFAULT 0,
    attempts        bigint NOT NULL DEFAULT 0,
    retries         bigint NOT NULL DEFAULT 0,
    recovered       bigint NOT NULL DEFAULT 0,
    exhausted       bigint NOT NULL DEFAULT 0,
    budget_tokens   double precision,
    last_error      text,
    updated_at      timestamptz NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE alerts (
    id         uuid PRIMARY KEY,
    ts         timestamptz NOT NULL,
    run_id     uuid,
    alert      text NOT NULL,
    state      text NOT NULL,
    severity   text NOT NULL,
    metric     text NOT NULL,
    value      double precision NOT NULL,
    threshold  double precision NOT NULL,
    message    text NOT NULL
);
CREATE INDEX alerts_ts ON alerts (ts DESC);

-- How far the rows of each spool have come into each table (written in the transaction of the rows themselves).
CREATE TABLE ingest_offset (
    spool_id  uuid NOT NULL,
    table_id  text NOT NULL,
    position  bigint NOT NULL,
    PRIMARY KEY (spool_id, table_id)
);

-- Rows the database would not take, with the reason, so that one bad row never holds up the others.
CREATE TABLE dead_letters (
    id          uuid PRIMARY KEY,
    ts          timestamptz NOT NULL,
    table_name  text NOT NULL,
    operation   text NOT NULL,
    sqlstate    text,
    error       text NOT NULL,
    row         jsonb NOT NULL
);
CREATE INDEX dead_letters_ts ON dead_letters (ts DESC);
