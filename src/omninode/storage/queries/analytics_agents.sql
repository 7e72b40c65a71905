-- What agents did, from the rollups, except where single outcomes are asked for.

-- name: record
INSERT INTO agent_performance
    (id, ts, run_id, agent_id, task_type, success, duration_ms, tokens_in, tokens_out, cost_uusd, error_class, metadata)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT (id) DO NOTHING;

-- name: records_of_type
SELECT agent_id,
       sum(n)::bigint AS samples,
       sum(successes)::bigint AS successes,
       (sum(duration_ms) / sum(n))::double precision AS mean_ms,
       (sum(cost_uusd) / nullif(sum(n - unpriced), 0))::double precision AS cost_uusd
FROM omn_ranges($2, $3) AS r
CROSS JOIN LATERAL (
    SELECT * FROM rollup_agents AS t
    WHERE task_type = $1 AND t.grain = r.grain AND t.bucket >= r.low AND t.bucket < r.high OFFSET 0) AS told
GROUP BY agent_id
ORDER BY samples DESC, agent_id
LIMIT 500;

-- name: records_in_context
-- Only the outcomes themselves tell their context: those of the newest 20,000.
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
      WHERE task_type = $1 AND id >= omn_since($2) AND ts >= $2 AND ts < $3
      ORDER BY ts DESC
      LIMIT 20000) AS newest
GROUP BY agent_id
ORDER BY samples DESC, agent_id
LIMIT 500;

-- name: records_of_all_types
SELECT agent_id,
       sum(n)::bigint AS samples,
       sum(successes)::bigint AS successes,
       (sum(duration_ms) / sum(n))::double precision AS mean_ms,
       (sum(cost_uusd) / nullif(sum(n - unpriced), 0))::double precision AS cost_uusd
FROM omn_ranges($1, $2) AS r
CROSS JOIN LATERAL (
    SELECT * FROM rollup_agents AS t
    WHERE t.grain = r.grain AND t.bucket >= r.low AND t.bucket < r.high OFFSET 0) AS told
GROUP BY agent_id
ORDER BY samples DESC, agent_id
LIMIT 500;

-- name: standings
SELECT agent_id, task_type,
       sum(n)::bigint AS samples,
       sum(successes)::bigint AS successes,
       (sum(duration_ms) / sum(n))::double precision AS mean_ms,
       sum(latency)::text AS latency,
       sum(cost_uusd)::bigint AS cost_uusd,
       sum(unpriced)::bigint AS unpriced,
       max(last_at) AS last_at
FROM omn_ranges($1, $2) AS r
CROSS JOIN LATERAL (
    SELECT * FROM rollup_agents AS t
    WHERE t.grain = r.grain AND t.bucket >= r.low AND t.bucket < r.high OFFSET 0) AS told
GROUP BY agent_id, task_type
ORDER BY samples DESC, agent_id, task_type
LIMIT 2000;

-- name: types_of_agent
SELECT task_type,
       sum(n)::bigint AS samples,
       sum(successes)::bigint AS successes,
       (sum(duration_ms) / sum(n))::double precision AS mean_ms,
       sum(latency)::text AS latency,
       sum(cost_uusd)::bigint AS cost_uusd,
       sum(unpriced)::bigint AS unpriced,
       sum(tokens_in)::bigint AS tokens_in,
       sum(tokens_out)::bigint AS tokens_out,
       min(first_at) AS first_at,
       max(last_at) AS last_at
FROM omn_ranges($2, $3) AS r
CROSS JOIN LATERAL (
    SELECT * FROM rollup_agents AS t
    WHERE agent_id = $1 AND t.grain = r.grain AND t.bucket >= r.low AND t.bucket < r.high OFFSET 0) AS told
GROUP BY task_type
ORDER BY samples DESC, task_type
LIMIT 200;

-- name: errors_of_agent
SELECT error_class, sum(n)::bigint AS times
FROM omn_ranges($2, $3) AS r
CROSS JOIN LATERAL (
    SELECT * FROM rollup_agent_errors AS t
    WHERE agent_id = $1 AND t.grain = r.grain AND t.bucket >= r.low AND t.bucket < r.high OFFSET 0) AS told
GROUP BY error_class
ORDER BY times DESC, error_class
LIMIT 20;

-- name: outcomes
SELECT id, ts, run_id, agent_id, task_type, success, duration_ms, tokens_in, tokens_out, cost_uusd, error_class
FROM agent_performance
WHERE agent_id = $1 AND id >= omn_since($2) AND ts >= $2 AND (ts, id) < ($3, $4)
ORDER BY ts DESC, id DESC
LIMIT $5;

-- name: per_bucket
SELECT date_bin($1::interval, bucket, 'epoch'::timestamptz) AS start,
       sum(n)::bigint AS samples,
       sum(successes)::bigint AS successes,
       (sum(duration_ms) / sum(n))::double precision AS mean_ms,
       sum(latency)::text AS latency,
       sum(cost_uusd)::bigint AS cost_uusd
FROM rollup_agents
WHERE ($4::text IS NULL OR agent_id = $4) AND ($5::text IS NULL OR task_type = $5)
 
  AND grain = omn_grain($2, $1) AND bucket >= date_trunc(omn_grain($2, $1), $2, 'UTC') AND bucket < $3
GROUP BY start
ORDER BY start
LIMIT 2000;
