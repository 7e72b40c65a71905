-- name: hit
UPDATE context_predictions SET hits = hits + 1
WHERE key_hash = $1 AND expires_at > $2
RETURNING task_type, predicted, confidence, expires_at;

-- name: keep
INSERT INTO context_predictions (key_hash, ts, task_type, predicted, confidence, expires_at)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (key_hash) DO UPDATE
SET ts = excluded.ts, task_type = excluded.task_type, predicted = excluded.predicted,
    confidence = excluded.confidence, expires_at = excluded.expires_at, hits = 0;

-- name: expire
DELETE FROM context_predictions WHERE expires_at <= $1;
