"""The Anthropic messages format: a request as bytes, an answer as ours."""

from __future__ import annotations

import orjson

from omninode.core.errors import MalformedAnswerError
from omninode.core.usage import Usage
from omninode.providers import tokens
from omninode.providers.messages import ChatAnswer, ChatRequest, FinishReason

__all__ = ["DEFAULT_MAX_TOKENS", "answer", "body", "finish_reason", "usage"]

# The protocol demands a bound; every model it serves can write at least this much.
DEFAULT_MAX_TOKENS = 4096

_FINISH: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
    "tool_use": "tool_calls",
}


def body(request: ChatRequest, *, model: str, is_streaming: bool = False) -> bytes:
    """The request as it is sent.

    System messages, wherever they stand, become the one system text. The protocol has no seed and no JSON mode: both
    wishes are left out, so ask for JSON in the text as well.
    """
    fields: dict[str, object] = {
        "model": model,
        "max_tokens": request.max_tokens or DEFAULT_MAX_TOKENS,
        "messages": [
            {"role": message.role, "content": message.content}
            for message in request.messages
            if message.role != "system"
        ],
    }
    system = "\n\n".join(message.content for message in request.messages if message.role == "system")
    if system:
        fields["system"] = system
    if request.temperature is not None:
        fields["temperature"] = min(1.0, request.temperature)  # this protocol ends at 1
    if request.stop:
        fields["stop_sequences"] = list(request.stop)
    if is_streaming:
        fields["stream"] = True
    return orjson.dumps(fields)


def answer(parsed: object, *, request: ChatRequest, model: str, subject: str, duration_s: float) -> ChatAnswer:
    """The answer in a parsed body; raises MalformedAnswerError, beginning with `subject`, when there is none."""
    content = parsed.get("content") if isinstance(parsed, dict) else None
    if not isinstance(parsed, dict) or not isinstance(content, list):
        raise MalformedAnswerError(f"{subject}: the answer has no content")
    reason = parsed.get("stop_reason")
    if reason is None:
        raise MalformedAnswerError(f"{subject}: the answer has no stop_reason, so it may be cut off")
    blocks = [block.get("text") for block in content if isinstance(block, dict) and block.get("type") == "text"]
    text = "".join(block for block in blocks if isinstance(block, str))
    served = parsed.get("model")
    return ChatAnswer(
        text=text,
        model=served if isinstance(served, str) and served else model,
        finish_reason=finish_reason(reason),
        usage=usage(parsed.get("usage")) or tokens.estimated(request.messages, text),
        duration_s=duration_s,
    )


def finish_reason(reason: object) -> FinishReason:
    """The protocol's word as ours; an unknown one is `other`."""
    return _FINISH.get(reason, "other") if isinstance(reason, str) else "other"


def usage(parsed: object) -> Usage | None:
    """The usage the provider reported; its input leaves out what came from or went to the cache, ours does not."""
    if not isinstance(parsed, dict):
        return None
    spent, written = parsed.get("input_tokens"), parsed.get("output_tokens")
    if not isinstance(spent, int) or not isinstance(written, int) or spent < 0 or written < 0:
        return None
    reused, stored = parsed.get("cache_read_input_tokens"), parsed.get("cache_creation_input_tokens")
    reused = reused if isinstance(reused, int) and reused > 0 else 0
    stored = stored if isinstance(stored, int) and stored > 0 else 0
    return Usage(input_tokens=spent + reused + stored, output_tokens=written, cache_read_tokens=reused)
