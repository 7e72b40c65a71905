-- What the live stream shows of runs in other processes: the newest rows of every fact table, newest first.

-- name: tail
SELECT * FROM (
    (SELECT 'run_started:' || id AS key, 'run_started' AS kind, started_at AS ts, id AS run_id, prompt AS title,
            '' AS detail, 'running' AS state, NULL::bigint AS ms, NULL::bigint AS tokens, NULL::bigint AS cost_uusd,
            NULL::text AS model, is_simulated AS simulated
       FROM runs WHERE started_at > $1 ORDER BY started_at DESC LIMIT $2)
    UNION ALL
    (SELECT 'run_finished:' || id, 'run_finished', finished_at, id, prompt, coalesce(error, ''), status, duration_ms,
            NULL, NULL, NULL, is_simulated
       FROM runs WHERE started_at > $1 - interval '1 hour' AND finished_at > $1 ORDER BY started_at DESC LIMIT $2)
    UNION ALL
    (SELECT id::text, 'call', ts, run_id, role || ' → ' || deployment,
            CASE error_class WHEN 'CancelledError' THEN 'not needed any more' ELSE coalesce(error_class, degraded, '') END,
            CASE WHEN ok THEN 'ok' WHEN error_class = 'CancelledError' THEN 'stopped' ELSE 'failed' END, duration_ms,
            tokens_in + tokens_out, cost_uusd, model, is_simulated
       FROM llm_calls WHERE id >= omn_since($1) AND ts > $1 ORDER BY id DESC LIMIT $2)
    UNION ALL
    (SELECT tasks.id::text, 'task', ts, run_id, task_id || ' · ' || agent_id, coalesce(tasks.error, description),
            tasks.status, tasks.duration_ms, NULL, NULL, NULL, NULL
       FROM runs JOIN tasks ON tasks.run_id = runs.id AND tasks.id >= omn_since($1)
      WHERE started_at > $1 - interval '1 hour' AND ts > $1 ORDER BY ts DESC LIMIT $2)
    UNION ALL
    (SELECT id::text, 'phase', ts, run_id, coalesce(phase, ''), '', CASE WHEN ok THEN 'ok' ELSE 'failed' END,
            value::bigint, NULL, NULL, NULL, NULL
       FROM performance_metrics WHERE id >= omn_since($1) AND metric = 'phase_duration_ms' AND ts > $1
      ORDER BY ts DESC LIMIT $2)
    UNION ALL
    (SELECT id::text, 'error', ts, run_id, error_class, message, 'failed', NULL, NULL, NULL, NULL, NULL
       FROM error_events WHERE id >= omn_since($1) AND ts > $1 ORDER BY id DESC LIMIT $2)
    UNION ALL
    (SELECT id::text, 'alert', ts, run_id, alert || ' ' || state, message,
            CASE state WHEN 'resolved' THEN 'ok' ELSE 'failed' END, NULL, NULL, NULL, NULL, NULL
       FROM alerts WHERE ts > $1 ORDER BY ts DESC LIMIT $2)
) AS entries
ORDER BY ts DESC
LIMIT $2
