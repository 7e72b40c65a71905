-- Which rollup rows answer a question about [since, until): whole hours, and minutes for what is left at both ends, as
-- long as minutes are kept; before that, hours from the one that `since` lies in. A day is 23 hours and some minutes
-- instead of 1,440 minutes.
CREATE FUNCTION omn_ranges(since timestamptz, until timestamptz)
RETURNS TABLE (grain text, low timestamptz, high timestamptz)
LANGUAGE sql STABLE STRICT PARALLEL SAFE ROWS 3 AS $$
    SELECT ranges.*
    FROM (SELECT date_trunc('hour', since + interval '1 hour' - interval '1 microsecond', 'UTC') AS first_hour,
                 date_trunc('hour', until, 'UTC') AS last_hour,
                 omn_grain(since) = 'minute' AS is_young) AS edges,
         LATERAL (VALUES
             ('hour', CASE WHEN is_young THEN first_hour ELSE date_trunc('hour', since, 'UTC') END,
                      CASE WHEN is_young THEN last_hour ELSE until END),
             ('minute', date_trunc('minute', since, 'UTC'), CASE WHEN is_young THEN least(first_hour, until) END),
             ('minute', greatest(first_hour, last_hour), CASE WHEN is_young THEN until END)
         ) AS ranges (grain, low, high)
    WHERE low < high
$$;

-- The same for a series of buckets of a width: hours do for hours.
CREATE FUNCTION omn_grain(since timestamptz, width interval) RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE WHEN width >= interval '1 hour' THEN 'hour' ELSE omn_grain(since) END
$$;
