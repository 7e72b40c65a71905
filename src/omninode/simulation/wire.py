"""The OpenAI chat protocol, outgoing: bodies, stream chunks, errors. Everything carries a SIMULATED label."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

__all__ = ["Completion", "error_body", "estimate_tokens"]

_FINGERPRINT = "SIMULATED"


def estimate_tokens(text: str) -> int:
    """Tokens by the rule of thumb of four characters each; at least one for any text."""
    return math.ceil(len(text) / 4)


def error_body(message: str, *, kind: str, code: str | None = None) -> bytes:
    """An error as OpenAI writes it."""
    return orjson.dumps({"error": {"message": f"SIMULATED: {message}", "type": kind, "param": None, "code": code}})


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One answer, ready to be written whole or as chunks."""

    id: str
    created: int
    model: str
    text: str
    finish_reason: str
    prompt_tokens: int

    @property
    def usage(self) -> dict[str, int]:
        """Token counts as the protocol names them."""
        written = estimate_tokens(self.text)
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": written,
            "total_tokens": self.prompt_tokens + written,
        }

    def body(self) -> bytes:
        """The whole answer as one JSON object."""
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": self.text},
            "logprobs": None,
            "finish_reason": self.finish_reason,
        }
        return self._dump("chat.completion", choices=[choice], usage=self.usage)

    def chunks(self, *, size: int, with_usage: bool) -> Iterator[bytes]:
        """The answer as server-sent events of `size` characters: role, text, finish, usage if asked, `[DONE]`."""
        # The protocol has `usage: null` on every chunk but the last when usage was asked for.
        extra: dict[str, Any] = {"usage": None} if with_usage else {}
        yield self._event({"role": "assistant", "content": ""}, None, extra)
        for start in range(0, len(self.text), size):
            yield self._event({"content": self.text[start : start + size]}, None, extra)
        yield self._event({}, self.finish_reason, extra)
        if with_usage:
            yield b"data: " + self._dump("chat.completion.chunk", choices=[], usage=self.usage) + b"\n\n"
        yield b"data: [DONE]\n\n"

    def _event(self, delta: Mapping[str, str], finish: str | None, extra: Mapping[str, Any]) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return b"data: " + self._dump("chat.completion.chunk", choices=[choice], **extra) + b"\n\n"

    def _dump(self, kind: str, **fields: Any) -> bytes:
        head = {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": _FINGERPRINT,
        }
        return orjson.dumps({**head, **fields})
