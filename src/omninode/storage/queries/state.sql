-- name: now
SELECT now();

-- name: breakers
-- Not those of a process that is still there, see `stay`: a breaker that is open elsewhere opens none here. Nor those
-- without a sender, which opened on the word of another process.
SELECT name, state, failures, successes, generation, opened_at, reopen_at, reason, updated_at
  FROM circuit_breaker_state
 WHERE sender IS NOT NULL AND NOT EXISTS (
           SELECT FROM pg_locks
            WHERE locktype = 'advisory' AND classid = 4712 AND objid = hashtext(sender::text)::oid
                  AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))
 ORDER BY name;

-- name: stay
-- Held for as long as the session lives, and so a sign that its process does.
SELECT pg_advisory_lock_shared(4712, hashtext($1));

-- name: retries
SELECT name, calls, attempts, retries, recovered, exhausted, budget_tokens, last_error, updated_at
FROM retry_manager_state ORDER BY name;

-- name: save_breakers
-- Sorted, so that two writers take their row locks in the same order. While a break lasts, at most 30 s, the process
-- that opened it is the one to say that it is over: those that count on with a closed breaker, or that opened theirs on
-- its word (without a sender), would hide it.
INSERT INTO circuit_breaker_state AS kept
       (name, state, failures, successes, generation, opened_at, reopen_at, reason, updated_at, sender)
SELECT name, state, failures, successes, generation, opened_at, reopen_at, reason, updated_at, sender
  FROM unnest($1::text[], $2::text[], $3::integer[], $4::integer[], $5::bigint[],
              $6::timestamptz[], $7::timestamptz[], $8::text[], $9::timestamptz[],
              $10::uuid[])
       AS saved (name, state, failures, successes, generation, opened_at, reopen_at, reason, updated_at, sender)
 ORDER BY name COLLATE "C"
ON CONFLICT (name) DO UPDATE
   SET state = excluded.state, failures = excluded.failures, successes = excluded.successes,
       generation = excluded.generation, opened_at = excluded.opened_at, reopen_at = excluded.reopen_at,
       reason = excluded.reason, updated_at = excluded.updated_at, sender = excluded.sender
 WHERE NOT (kept.state = 'open' AND (excluded.state <> 'open' OR excluded.sender IS NULL)
            AND kept.sender IS NOT NULL AND kept.sender IS DISTINCT FROM excluded.sender
            AND least(kept.reopen_at, kept.updated_at + interval '30 s') > now());

-- name: tell
SELECT pg_notify('omninode_breakers', $1);

-- name: news
-- What other processes said of late. A break without an end is a decision taken by hand, for that process.
SELECT name, sender::text AS sender, state, generation,
       extract(epoch FROM coalesce(reopen_at, updated_at) - now())::float8 AS left_s
  FROM circuit_breaker_state
 WHERE sender <> $1 AND coalesce(reopen_at, updated_at) > now() - interval '10 s'
       AND NOT (state = 'open' AND reopen_at IS NULL)
 ORDER BY name LIMIT 1000;
