-- Which kinds of tasks were met in [$1, $2).

-- name: task_types
SELECT task_type, sum(n)::bigint AS n
  FROM rollup_agents WHERE grain = omn_grain($1) AND bucket >= omn_first_bucket($1) AND bucket < $2
 GROUP BY task_type ORDER BY n DESC, task_type LIMIT 24
