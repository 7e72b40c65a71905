-- Which kinds of tasks were met in [$1, $2).

-- name: task_types
SELECT task_type, count(*) AS n
  FROM (SELECT task_type FROM agent_performance WHERE ts >= $1 AND ts < $2 ORDER BY ts DESC LIMIT 20000) AS newest
 GROUP BY task_type ORDER BY n DESC, task_type LIMIT 24
