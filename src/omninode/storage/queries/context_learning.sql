-- name: insert
-- Rows as one JSON array; a row that is there already was written by an attempt whose answer was lost.
INSERT INTO context_learning (id, ts, decision_id, run_id, agent_id, task_type, prompt_hash, features, source,
                              context_type, included, propensity, items, latency_ms, tokens, reward, reward_kind)
SELECT r.id, r.ts, r.decision_id, r.run_id, r.agent_id, r.task_type, r.prompt_hash,
       ARRAY(SELECT value::real FROM jsonb_array_elements_text(r.features) WITH ORDINALITY AS f (value, n) ORDER BY n),
       r.source, r.context_type, r.included, r.propensity, r.items, r.latency_ms, r.tokens, r.reward, r.reward_kind
FROM jsonb_to_recordset($1::jsonb) AS r (
    id uuid, ts timestamptz, decision_id uuid, run_id uuid, agent_id text, task_type text, prompt_hash text,
    features jsonb, source text, context_type text, included boolean, propensity real, items integer,
    latency_ms bigint, tokens bigint, reward real, reward_kind text)
ON CONFLICT (id) DO NOTHING;

-- name: outcomes
-- The latest rows that say how useful a source was.
SELECT source, context_type, task_type, features, items, latency_ms, tokens, reward, reward_kind
FROM context_learning
WHERE reward IS NOT NULL
ORDER BY id DESC
LIMIT $1;
