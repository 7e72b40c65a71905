-- Which kinds of tasks were met in [$1, $2).

-- name: task_types
SELECT task_type, sum(n)::bigint AS n
  FROM omn_ranges($1, $2) AS r
 CROSS JOIN LATERAL (
       SELECT * FROM rollup_agents AS t
        WHERE t.grain = r.grain AND t.bucket >= r.low AND t.bucket < r.high OFFSET 0) AS told
 GROUP BY task_type ORDER BY n DESC, task_type LIMIT 24
