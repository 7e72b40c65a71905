-- What agents did. Each question reads at most the newest 20,000 outcomes of its period, by index.

-- name: record
INSERT INTO agent_performance
    (id, ts, run_id, agent_id, task_type, success, duration_ms, tokens_in, tokens_out, cost_uusd, error_class, metadata)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT (id) DO NOTHING;

-- name: records_of_type
SELECT agent_id,
       count(*) AS samples,
       count(*) FILTER (WHERE success) AS successes,
       avg(duration_ms)::double precision AS mean_ms,
       avg(cost_uusd)::double precision AS cost_uusd,
       count(*) FILTER (WHERE metadata @> $4) AS context_samples,
       count(*) FILTER (WHERE metadata @> $4 AND success) AS context_successes,
       (avg(duration_ms) FILTER (WHERE metadata @> $4))::double precision AS context_mean_ms,
       (avg(cost_uusd) FILTER (WHERE metadata @> $4))::double precision AS context_cost_uusd
FROM (SELECT agent_id, success, duration_ms, cost_uusd, metadata
      FROM agent_performance
      WHERE task_type = $1 AND ts >= $2 AND ts < $3
      ORDER BY ts DESC
      LIMIT 20000) AS newest
GROUP BY agent_id
ORDER BY samples DESC, agent_id
LIMIT 500;

-- name: records_of_all_types
SELECT agent_id,
       count(*) AS samples,
       count(*) FILTER (WHERE success) AS successes,
       avg(duration_ms)::double precision AS mean_ms,
       avg(cost_uusd)::double precision AS cost_uusd
FROM (SELECT agent_id, success, duration_ms, cost_uusd
      FROM agent_performance
      WHERE ts >= $1 AND ts < $2
      ORDER BY ts DESC
      LIMIT 20000) AS newest
GROUP BY agent_id
ORDER BY samples DESC, agent_id
LIMIT 500;

-- name: standings
SELECT agent_id, task_type,
       count(*) AS samples,
       count(*) FILTER (WHERE success) AS successes,
       avg(duration_ms)::double precision AS mean_ms,
       percentile_disc(0.95) WITHIN GROUP (ORDER BY duration_ms)::double precision AS p95_ms,
       sum(cost_uusd)::bigint AS cost_uusd,
       count(*) FILTER (WHERE cost_uusd IS NULL) AS unpriced,
       max(ts) AS last_at
FROM (SELECT agent_id, task_type, success, duration_ms, cost_uusd, ts
      FROM agent_performance
      WHERE ts >= $1 AND ts < $2
      ORDER BY ts DESC
      LIMIT 20000) AS newest
GROUP BY agent_id, task_type
ORDER BY samples DESC, agent_id, task_type
LIMIT 2000;

-- name: durations
SELECT duration_ms
FROM agent_performance
WHERE agent_id = $1 AND ts >= $2 AND ts < $3
ORDER BY ts DESC
LIMIT 20000;

-- name: types_of_agent
SELECT task_type,
       count(*) AS samples,
       count(*) FILTER (WHERE success) AS successes,
       avg(duration_ms)::double precision AS mean_ms,
       sum(cost_uusd)::bigint AS cost_uusd,
       count(*) FILTER (WHERE cost_uusd IS NULL) AS unpriced,
       sum(tokens_in)::bigint AS tokens_in,
       sum(tokens_out)::bigint AS tokens_out,
       min(ts) AS first_at,
       max(ts) AS last_at
FROM (SELECT task_type, success, duration_ms, cost_uusd, tokens_in, tokens_out, ts
      FROM agent_performance
      WHERE agent_id = $1 AND ts >= $2 AND ts < $3
      ORDER BY ts DESC
      LIMIT 20000) AS newest
GROUP BY task_type
ORDER BY samples DESC, task_type
LIMIT 200;

-- name: errors_of_agent
SELECT error_class, count(*) AS times
FROM agent_performance
WHERE agent_id = $1 AND ts >= $2 AND ts < $3 AND NOT success AND error_class IS NOT NULL
GROUP BY error_class
ORDER BY times DESC, error_class
LIMIT 20;

-- name: outcomes
SELECT id, ts, run_id, agent_id, task_type, success, duration_ms, tokens_in, tokens_out, cost_uusd, error_class
FROM agent_performance
WHERE agent_id = $1 AND ts >= $2 AND (ts, id) < ($3, $4)
ORDER BY ts DESC, id DESC
LIMIT $5;

-- name: per_bucket
SELECT date_bin($1::interval, ts, 'epoch'::timestamptz) AS start,
       count(*) AS samples,
       count(*) FILTER (WHERE success) AS successes,
       avg(duration_ms)::double precision AS mean_ms,
       percentile_disc(0.95) WITHIN GROUP (ORDER BY duration_ms)::double precision AS p95_ms,
       sum(cost_uusd)::bigint AS cost_uusd
FROM (SELECT ts, success, duration_ms, cost_uusd
      FROM agent_performance
      WHERE ts >= $2 AND ts < $3 AND ($4::text IS NULL OR agent_id = $4) AND ($5::text IS NULL OR task_type = $5)
      ORDER BY ts DESC
      LIMIT 200000) AS newest
GROUP BY start
ORDER BY start
LIMIT 2000;
