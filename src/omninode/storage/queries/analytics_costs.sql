-- What calls cost, from the rollups. A hit in the cache costs nothing, so it is never "unpriced"; what it saved is
-- estimated from the mean price of a call of the same model that was paid for. A call that was stopped because its answer
-- was no longer needed is neither failed nor unpriced.

-- name: lines
-- By $3: model, deployment, provider or day.
WITH counted AS (
    SELECT CASE $3::text
               WHEN 'model' THEN model
               WHEN 'deployment' THEN deployment
               WHEN 'provider' THEN provider
               WHEN 'day' THEN to_char(bucket AT TIME ZONE 'UTC', 'YYYY-MM-DD')
           END AS name, model, sum(n) AS n, sum(n - ok - stopped) AS failed, sum(cached) AS cached,
           sum(unpriced) AS unpriced, sum(unpriced_tokens) AS unpriced_tokens, sum(tokens_in) AS tokens_in,
           sum(tokens_out) AS tokens_out, sum(cost_uusd) AS cost_uusd, sum(paid) AS paid, sum(paid_uusd) AS paid_uusd
    FROM omn_ranges($1, $2) AS r
    CROSS JOIN LATERAL (
        SELECT * FROM rollup_calls AS t
        WHERE t.grain = r.grain AND t.bucket >= r.low AND t.bucket < r.high OFFSET 0) AS told
    GROUP BY 1, model
), priced AS (
    SELECT model AS priced_model, sum(paid_uusd) / nullif(sum(paid), 0) AS mean_uusd FROM counted GROUP BY model
)
SELECT name, sum(n)::bigint AS calls, sum(failed)::bigint AS failed, sum(cached)::bigint AS cache_hits,
       sum(unpriced)::bigint AS unpriced_calls, sum(unpriced_tokens)::bigint AS unpriced_tokens,
       sum(tokens_in)::bigint AS tokens_in, sum(tokens_out)::bigint AS tokens_out, sum(cost_uusd)::bigint AS cost_uusd,
       sum(cached * mean_uusd)::double precision AS saved_uusd
FROM counted
JOIN priced ON priced_model = model
GROUP BY name
ORDER BY cost_uusd DESC NULLS LAST, calls DESC, name
LIMIT $4;

-- name: lines_of_callers
-- By $3: role or agent.
WITH counted AS (
    SELECT CASE $3::text WHEN 'role' THEN role WHEN 'agent' THEN agent_id END AS name, model, sum(n) AS n, sum(n - ok - stopped) AS failed, sum(cached) AS cached,
           sum(unpriced) AS unpriced, sum(unpriced_tokens) AS unpriced_tokens, sum(tokens_in) AS tokens_in,
           sum(tokens_out) AS tokens_out, sum(cost_uusd) AS cost_uusd, sum(paid) AS paid, sum(paid_uusd) AS paid_uusd
    FROM omn_ranges($1, $2) AS r
    CROSS JOIN LATERAL (
        SELECT * FROM rollup_spend AS t
        WHERE t.grain = r.grain AND t.bucket >= r.low AND t.bucket < r.high OFFSET 0) AS told
    GROUP BY 1, model
), priced AS (
    SELECT model AS priced_model, sum(paid_uusd) / nullif(sum(paid), 0) AS mean_uusd FROM counted GROUP BY model
)
SELECT name, sum(n)::bigint AS calls, sum(failed)::bigint AS failed, sum(cached)::bigint AS cache_hits,
       sum(unpriced)::bigint AS unpriced_calls, sum(unpriced_tokens)::bigint AS unpriced_tokens,
       sum(tokens_in)::bigint AS tokens_in, sum(tokens_out)::bigint AS tokens_out, sum(cost_uusd)::bigint AS cost_uusd,
       sum(cached * mean_uusd)::double precision AS saved_uusd
FROM counted
JOIN priced ON priced_model = model
GROUP BY name
ORDER BY cost_uusd DESC NULLS LAST, calls DESC, name
LIMIT $4;

-- name: successes
SELECT coalesce(sum(n), 0)::bigint AS runs, coalesce(sum(n) FILTER (WHERE status = 'done'), 0)::bigint AS successes
FROM omn_ranges($1, $2) AS r
CROSS JOIN LATERAL (
    SELECT * FROM rollup_runs AS t
    WHERE t.grain = r.grain AND t.bucket >= r.low AND t.bucket < r.high OFFSET 0) AS told;

-- name: agent_successes
SELECT agent_id AS name, sum(successes)::bigint AS successes
FROM omn_ranges($1, $2) AS r
CROSS JOIN LATERAL (
    SELECT * FROM rollup_agents AS t
    WHERE t.grain = r.grain AND t.bucket >= r.low AND t.bucket < r.high OFFSET 0) AS told
GROUP BY agent_id
LIMIT 2000;
