-- What one run measured; at most 2,000 measurements, as many as the monitor itself remembers of a run.

-- name: measured
SELECT id, ts, phase, metric, value, ok, labels
FROM performance_metrics
WHERE run_id = $1 AND id >= omn_run_since($1) AND metric IN ('phase_duration_ms', 'source_duration_ms')
ORDER BY ts, id
LIMIT 2000;

-- name: totals
SELECT
    (SELECT status FROM runs WHERE id = $1) AS status,
    (SELECT duration_ms FROM runs WHERE id = $1)::double precision AS duration_ms,
    c.calls, c.calls_failed, c.attempts, c.cache_hits, c.tokens_in, c.tokens_out, c.cost_uusd, c.unpriced_calls,
    t.tasks, t.tasks_failed,
    (SELECT count(*) FROM error_events WHERE run_id = $1 AND id >= omn_run_since($1)) AS errors
FROM
    (SELECT count(*) AS calls, count(*) FILTER (WHERE NOT ok AND error_class IS DISTINCT FROM 'CancelledError') AS calls_failed, sum(attempts) AS attempts,
            count(*) FILTER (WHERE cache IN ('hit', 'shared')) AS cache_hits, sum(tokens_in) AS tokens_in,
            sum(tokens_out) AS tokens_out, sum(cost_uusd) AS cost_uusd,
            count(*) FILTER (WHERE cost_uusd IS NULL) AS unpriced_calls
     FROM llm_calls WHERE run_id = $1 AND id >= omn_run_since($1)) AS c,
    (SELECT count(*) AS tasks, count(*) FILTER (WHERE status = 'failed') AS tasks_failed
     FROM tasks WHERE run_id = $1 AND id >= omn_run_since($1)) AS t;
