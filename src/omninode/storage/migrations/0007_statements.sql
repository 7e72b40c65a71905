-- What our statements cost, added up over all processes, and the plan each of the dearest had when it was last looked at.

CREATE TABLE statement_times (
    statement   text PRIMARY KEY,
    calls       bigint NOT NULL,
    total_ms    double precision NOT NULL,
    max_ms      double precision NOT NULL,
    first_seen  timestamptz NOT NULL DEFAULT now(),
    seen_at     timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

CREATE TABLE statement_plans (
    fingerprint  text PRIMARY KEY,
    statement    text NOT NULL,
    shape        text NOT NULL,
    cost         double precision NOT NULL,
    seen_at      timestamptz NOT NULL
);
