-- Which models of [$1, $2) were simulated, and when each was last called.

-- name: models
SELECT model, sum(simulated) > 0 AS is_simulated, max(last_at) AS last_at
  FROM omn_ranges($1, $2) AS r
 CROSS JOIN LATERAL (
       SELECT * FROM rollup_calls AS t
        WHERE t.grain = r.grain AND t.bucket >= r.low AND t.bucket < r.high OFFSET 0) AS told
 GROUP BY model
