-- What calls cost, over at most the newest 200,000 calls of the period. A hit in the cache costs nothing, so it is
-- never "unpriced"; what it saved is estimated from the mean price of a call of the same model that was paid for. A call
-- that was stopped because its answer was no longer needed is neither failed nor unpriced.

-- name: lines
WITH newest AS (
    SELECT model, deployment, provider, role, agent_id, ts, tokens_in, tokens_out, cost_uusd, ok,
           error_class IS NOT DISTINCT FROM 'CancelledError' AS is_stopped,
           cache IN ('hit', 'shared') AS is_hit
    FROM llm_calls
    WHERE ts >= $1 AND ts < $2
    ORDER BY ts DESC
    LIMIT 200000
), paid AS (
    SELECT model AS paid_model, avg(cost_uusd)::double precision AS mean_uusd
    FROM newest
    WHERE ok AND NOT is_hit AND cost_uusd IS NOT NULL
    GROUP BY model
)
SELECT CASE $3::text
           WHEN 'model' THEN model
           WHEN 'deployment' THEN deployment
           WHEN 'provider' THEN provider
           WHEN 'role' THEN role
           WHEN 'agent' THEN coalesce(agent_id, '')
           WHEN 'day' THEN to_char(ts AT TIME ZONE 'UTC', 'YYYY-MM-DD')
       END AS name,
       count(*) AS calls,
       count(*) FILTER (WHERE NOT ok AND NOT is_stopped) AS failed,
       count(*) FILTER (WHERE is_hit) AS cache_hits,
       count(*) FILTER (WHERE cost_uusd IS NULL AND NOT is_hit AND NOT is_stopped) AS unpriced_calls,
       (sum(tokens_in + tokens_out) FILTER (WHERE cost_uusd IS NULL AND NOT is_hit AND NOT is_stopped))::bigint AS unpriced_tokens,
       sum(tokens_in)::bigint AS tokens_in,
       sum(tokens_out)::bigint AS tokens_out,
       (sum(cost_uusd) FILTER (WHERE NOT is_hit))::bigint AS cost_uusd,
       (sum(mean_uusd) FILTER (WHERE is_hit))::double precision AS saved_uusd
FROM newest
LEFT JOIN paid ON paid_model = model
GROUP BY name
ORDER BY cost_uusd DESC NULLS LAST, calls DESC, name
LIMIT $4;

-- name: successes
SELECT count(*) AS runs,
       count(*) FILTER (WHERE status = 'done') AS successes
FROM (SELECT status
      FROM runs
      WHERE started_at >= $1 AND started_at < $2
      ORDER BY started_at DESC
      LIMIT 200000) AS newest;

-- name: agent_successes
SELECT agent_id AS name, count(*) FILTER (WHERE success) AS successes
FROM (SELECT agent_id, success
      FROM agent_performance
      WHERE ts >= $1 AND ts < $2
      ORDER BY ts DESC
      LIMIT 200000) AS newest
GROUP BY agent_id
LIMIT 2000;
