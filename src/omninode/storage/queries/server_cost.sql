-- Which models of [$1, $2) were simulated, and when each was last called.

-- name: models
SELECT model, sum(simulated) > 0 AS is_simulated, max(last_at) AS last_at
  FROM rollup_calls WHERE grain = omn_grain($1) AND bucket >= omn_first_bucket($1) AND bucket < $2
 GROUP BY model
