-- Which models of [$1, $2) were simulated, and when each was last called.

-- name: models
SELECT model, bool_or(is_simulated) AS is_simulated, max(ts) AS last_at
  FROM (SELECT model, is_simulated, ts FROM llm_calls WHERE ts >= $1 AND ts < $2 ORDER BY ts DESC LIMIT 200000) AS newest
 GROUP BY model
