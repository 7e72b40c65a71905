-- Figures per bucket of time, from the rollups. $1 is the bucket's width, $2 and $3 the period, $4 narrows to one name or
-- is NULL.

-- name: calls
SELECT date_bin($1::interval, bucket, 'epoch'::timestamptz) AS start,
       sum(n - stopped)::bigint AS count,
       sum(n - ok - stopped)::bigint AS failed,
       sum(latency)::text AS latency,
       sum(tokens_in + tokens_out)::bigint AS tokens,
       sum(cost_uusd)::bigint AS cost_uusd
FROM rollup_calls
WHERE ($4::text IS NULL OR model = $4)
  AND grain = omn_grain($2, $1) AND bucket >= date_trunc(omn_grain($2, $1), $2, 'UTC') AND bucket < $3
GROUP BY start
ORDER BY start
LIMIT 2000;

-- name: runs
SELECT date_bin($1::interval, bucket, 'epoch'::timestamptz) AS start,
       sum(n)::bigint AS count,
       coalesce(sum(n) FILTER (WHERE status IN ('failed', 'failed_tasks', 'lost')), 0)::bigint AS failed,
       sum(latency)::text AS latency,
       0::bigint AS tokens,
       0::bigint AS cost_uusd
FROM rollup_runs
WHERE ($4::text IS NULL OR workspace = $4)
  AND grain = omn_grain($2, $1) AND bucket >= date_trunc(omn_grain($2, $1), $2, 'UTC') AND bucket < $3
GROUP BY start
ORDER BY start
LIMIT 2000;

-- name: phases
SELECT date_bin($1::interval, bucket, 'epoch'::timestamptz) AS start,
       sum(n)::bigint AS count,
       sum(failed)::bigint AS failed,
       sum(latency)::text AS latency,
       0::bigint AS tokens,
       0::bigint AS cost_uusd
FROM rollup_metrics
WHERE metric = 'phase_duration_ms' AND ($4::text IS NULL OR phase = $4)
  AND grain = omn_grain($2, $1) AND bucket >= date_trunc(omn_grain($2, $1), $2, 'UTC') AND bucket < $3
GROUP BY start
ORDER BY start
LIMIT 2000;

-- name: metric
SELECT date_bin($1::interval, bucket, 'epoch'::timestamptz) AS start,
       sum(n)::bigint AS count,
       sum(failed)::bigint AS failed,
       sum(latency)::text AS latency,
       0::bigint AS tokens,
       0::bigint AS cost_uusd
FROM rollup_metrics
WHERE metric = $4
  AND grain = omn_grain($2, $1) AND bucket >= date_trunc(omn_grain($2, $1), $2, 'UTC') AND bucket < $3
GROUP BY start
ORDER BY start
LIMIT 2000;

-- name: errors
SELECT date_bin($1::interval, bucket, 'epoch'::timestamptz) AS start,
       sum(n)::bigint AS count,
       sum(n)::bigint AS failed,
       NULL::text AS latency,
       0::bigint AS tokens,
       0::bigint AS cost_uusd
FROM rollup_errors
WHERE ($4::text IS NULL OR fingerprint = $4)
  AND grain = omn_grain($2, $1) AND bucket >= date_trunc(omn_grain($2, $1), $2, 'UTC') AND bucket < $3
GROUP BY start
ORDER BY start
LIMIT 2000;
