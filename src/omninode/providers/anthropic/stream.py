"""The events of a streamed Anthropic answer."""

from __future__ import annotations

import orjson

from omninode.core.errors import MalformedAnswerError
from omninode.core.usage import Usage
from omninode.providers import errors
from omninode.providers.anthropic import wire
from omninode.providers.messages import FinishReason
from omninode.providers.sse import ServerEvent

__all__ = ["AnthropicDecoder"]

# An error inside a stream has a type but no status; these are the statuses of the same types outside of one.
_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}


class AnthropicDecoder:
    """Reads events from `message_start` to `message_stop`; see `streaming.Decoder`."""

    def __init__(self, *, subject: str, secrets: tuple[str, ...] = ()) -> None:
        self._subject = subject
        self._secrets = secrets
        self._counted: dict[str, object] = {}
        self.model: str | None = None
        self.finish_reason: FinishReason | None = None
        self.is_ended = False

    @property
    def usage(self) -> Usage | None:
        """What the provider has reported so far: input with the first event, output with the last."""
        return wire.usage(self._counted)

    def take(self, event: ServerEvent) -> str:
        """See `streaming.Decoder.take`."""
        try:
            parsed = orjson.loads(event.data)
        except orjson.JSONDecodeError as error:
            raise MalformedAnswerError(f"{self._subject}: an event of the stream is not JSON") from error
        if not isinstance(parsed, dict):
            raise MalformedAnswerError(f"{self._subject}: an event of the stream is no JSON object")
        match parsed.get("type"):
            case "content_block_delta":
                return self._text(parsed.get("delta"))
            case "message_start":
                self._begin(parsed.get("message"))
            case "message_delta":
                self._end(parsed)
            case "message_stop":
                self.is_ended = True
            case "error":
                raise self._failure(event.data, parsed.get("error"))
        return ""

    def _text(self, delta: object) -> str:
        text = delta.get("text") if isinstance(delta, dict) and delta.get("type") == "text_delta" else None
        return text if isinstance(text, str) else ""

    def _begin(self, message: object) -> None:
        if isinstance(message, dict):
            model = message.get("model")
            self.model = model if isinstance(model, str) and model else None
            self._count(message.get("usage"))

    def _end(self, parsed: dict[str, object]) -> None:
        delta = parsed.get("delta")
        if isinstance(delta, dict) and delta.get("stop_reason") is not None:
            self.finish_reason = wire.finish_reason(delta["stop_reason"])
        self._count(parsed.get("usage"))

    def _count(self, usage: object) -> None:
        if isinstance(usage, dict):
            self._counted.update({name: value for name, value in usage.items() if value is not None})

    def _failure(self, data: bytes, failure: object) -> Exception:
        kind = failure.get("type") if isinstance(failure, dict) else None
        status = _STATUS.get(kind, 500) if isinstance(kind, str) else 500
        subject = f"{self._subject}: in the middle of the stream"
        return errors.from_status(status, subject=subject, headers={}, body=data, secrets=self._secrets)
