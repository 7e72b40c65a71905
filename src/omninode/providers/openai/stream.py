"""The events of a streamed OpenAI answer."""

from __future__ import annotations

import orjson

from omninode.core.errors import MalformedAnswerError
from omninode.core.usage import Usage
from omninode.providers import errors
from omninode.providers.messages import FinishReason
from omninode.providers.openai import wire
from omninode.providers.sse import ServerEvent

__all__ = ["OpenAIDecoder"]


class OpenAIDecoder:
    """Reads `chat.completion.chunk` events up to `[DONE]`; see `streaming.Decoder`."""

    def __init__(self, *, subject: str, secrets: tuple[str, ...] = ()) -> None:
        self._subject = subject
        self._secrets = secrets
        self.model: str | None = None
        self.finish_reason: FinishReason | None = None
        self.usage: Usage | None = None
        self.is_ended = False

    def take(self, event: ServerEvent) -> str:
        """See `streaming.Decoder.take`."""
        if event.data == b"[DONE]":
            self.is_ended = True
            return ""
        try:
            chunk = orjson.loads(event.data)
        except orjson.JSONDecodeError as error:
            raise MalformedAnswerError(f"{self._subject}: an event of the stream is not JSON") from error
        if not isinstance(chunk, dict):
            raise MalformedAnswerError(f"{self._subject}: an event of the stream is no JSON object")
        if chunk.get("error"):
            raise self._failure(event.data, chunk["error"])
        self.model = self.model or wire.text_or_none(chunk.get("model"))
        self.usage = wire.usage(chunk.get("usage")) or self.usage
        return self._choice(chunk.get("choices"))

    def _choice(self, choices: object) -> str:
        first = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(first, dict):
            return ""  # the chunk that carries usage has no choices
        if first.get("finish_reason") is not None:
            self.finish_reason = wire.finish_reason(first["finish_reason"])
        delta = first.get("delta")
        content = (delta.get("content") or delta.get("refusal")) if isinstance(delta, dict) else None
        return content if isinstance(content, str) else ""

    def _failure(self, data: bytes, failure: object) -> Exception:
        code = failure.get("code") if isinstance(failure, dict) else None
        status = code if isinstance(code, int) and 400 <= code < 600 else 500
        subject = f"{self._subject}: in the middle of the stream"
        return errors.from_status(status, subject=subject, headers={}, body=data, secrets=self._secrets)
