-- What is left of numbered rows after something was killed.

-- name: values
SELECT value FROM performance_metrics WHERE run_id = $1 AND metric = $2;

-- name: refused
SELECT count(*) FROM dead_letters WHERE row ->> 'run_id' = $1 AND row ->> 'metric' = $2;
