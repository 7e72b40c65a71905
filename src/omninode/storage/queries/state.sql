-- name: breakers
SELECT name, state, failures, successes, generation, opened_at, reopen_at, reason, updated_at
FROM circuit_breaker_state ORDER BY name;

-- name: retries
SELECT name, calls, attempts, retries, recovered, exhausted, budget_tokens, last_error, updated_at
FROM retry_manager_state ORDER BY name;
