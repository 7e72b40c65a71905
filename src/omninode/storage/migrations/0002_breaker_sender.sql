-- Which process wrote the row, so that the others know what is news from a peer and what is their own.
ALTER TABLE circuit_breaker_state ADD COLUMN sender uuid;
