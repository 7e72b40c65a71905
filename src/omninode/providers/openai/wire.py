"""The OpenAI chat completions format: a request as bytes, an answer as ours."""

from __future__ import annotations

import orjson

from omninode.core.errors import MalformedAnswerError
from omninode.core.usage import Usage
from omninode.providers import tokens
from omninode.providers.messages import ChatAnswer, ChatRequest, FinishReason

__all__ = ["answer", "body", "finish_reason", "text_or_none", "unsupported_parameter", "usage"]

_FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content_filter",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
}


# What a model may refuse although the protocol knows it; without these the request still asks the same thing (JSON is
# asked for in the text as well).
_OPTIONAL = frozenset({"temperature", "seed", "max_tokens", "response_format", "stream_options"})
_REFUSALS = frozenset({"unsupported_parameter", "unsupported_value"})


def body(
    request: ChatRequest, *, model: str, is_streaming: bool = False, unsupported: frozenset[str] = frozenset()
) -> bytes:
    """The request as it is sent, without the parameters named in `unsupported`.

    `max_tokens` is not left out but sent under the name that has replaced it at OpenAI.
    """
    fields: dict[str, object] = {
        "model": model,
        "messages": [{"role": message.role, "content": message.content} for message in request.messages],
    }
    if request.temperature is not None:
        fields["temperature"] = request.temperature
    if request.max_tokens is not None:
        fields["max_completion_tokens" if "max_tokens" in unsupported else "max_tokens"] = request.max_tokens
    if request.json:
        fields["response_format"] = {"type": "json_object"}
    if request.stop:
        fields["stop"] = list(request.stop)
    if request.seed is not None:
        fields["seed"] = request.seed
    if is_streaming:
        fields["stream"] = True
        fields["stream_options"] = {"include_usage": True}
    return orjson.dumps({name: value for name, value in fields.items() if name not in unsupported})


def unsupported_parameter(error_body: bytes) -> str | None:
    """The parameter that a 400 says this model does not take, None when it says something else.

    Reasoning models take no temperature; OpenAI says so in `code` and `param`.
    """
    try:
        parsed = orjson.loads(error_body)
    except orjson.JSONDecodeError:
        return None
    failure = parsed.get("error") if isinstance(parsed, dict) else None
    if not isinstance(failure, dict) or failure.get("code") not in _REFUSALS:
        return None
    name = failure.get("param")
    return name if isinstance(name, str) and name in _OPTIONAL else None


def answer(parsed: object, *, request: ChatRequest, model: str, subject: str, duration_s: float) -> ChatAnswer:
    """The answer in a parsed body; raises MalformedAnswerError, beginning with `subject`, when there is none."""
    choices = parsed.get("choices") if isinstance(parsed, dict) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    message = first.get("message") if isinstance(first, dict) else None
    if not isinstance(parsed, dict) or not isinstance(first, dict) or not isinstance(message, dict):
        raise MalformedAnswerError(f"{subject}: the answer has no choices[0].message")
    text = message.get("content") or message.get("refusal") or ""
    if not isinstance(text, str):
        raise MalformedAnswerError(f"{subject}: the content of the answer is not text")
    if first.get("finish_reason") is None:
        raise MalformedAnswerError(f"{subject}: the answer has no finish_reason, so it may be cut off")
    return ChatAnswer(
        text=text,
        model=text_or_none(parsed.get("model")) or model,
        finish_reason=finish_reason(first["finish_reason"]),
        usage=usage(parsed.get("usage")) or tokens.estimated(request.messages, text),
        duration_s=duration_s,
    )


def finish_reason(reason: object) -> FinishReason:
    """The protocol's word as ours; an unknown one is `other`."""
    return _FINISH.get(reason, "other") if isinstance(reason, str) else "other"


def usage(parsed: object) -> Usage | None:
    """The usage the provider reported, None where it reported none that makes sense."""
    if not isinstance(parsed, dict):
        return None
    spent, written = parsed.get("prompt_tokens"), parsed.get("completion_tokens")
    if not isinstance(spent, int) or not isinstance(written, int) or spent < 0 or written < 0:
        return None
    details = parsed.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    reused = cached if isinstance(cached, int) and 0 <= cached <= spent else 0
    return Usage(input_tokens=spent, output_tokens=written, cache_read_tokens=reused)


def text_or_none(value: object) -> str | None:
    """`value` when it is a text with something in it."""
    return value if isinstance(value, str) and value else None
