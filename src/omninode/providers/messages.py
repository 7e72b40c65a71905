"""What is sent to a model and what comes back, whatever protocol carries it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from omninode.core.errors import InvalidArgumentError
from omninode.core.usage import Usage

__all__ = ["ChatAnswer", "ChatRequest", "FinishReason", "Message", "Role"]

Role = Literal["system", "user", "assistant"]
FinishReason = Literal["stop", "length", "content_filter", "tool_calls", "other"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str

    def __post_init__(self) -> None:
        try:
            self.content.isascii() or self.content.encode()
        except UnicodeEncodeError as error:
            raise InvalidArgumentError(
                f"a {self.role} message holds half a surrogate pair at character {error.start}; "
                "clean the text with InputValidator first"
            ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """A conversation to be continued by a model.

    `temperature` None leaves it to the model. `max_tokens` bounds the answer; None leaves that to the provider. `json`
    asks for a JSON object, which every protocol honours as well as it can: the answer still has to be parsed with
    care. `seed` makes answers repeatable where the provider supports it.
    """

    messages: tuple[Message, ...]
    temperature: float | None = 0.0
    max_tokens: int | None = None
    json: bool = False
    stop: tuple[str, ...] = ()
    seed: int | None = None

    def __post_init__(self) -> None:
        if not self.messages:
            raise InvalidArgumentError("a chat request without messages; pass at least one")
        if self.temperature is not None and not 0.0 <= self.temperature <= 2.0:
            raise InvalidArgumentError(f"temperature is {self.temperature}; it lies between 0 and 2")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise InvalidArgumentError(f"max_tokens is {self.max_tokens}; allow at least one token")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatAnswer:
    """A complete answer of a model; `ttft_s` (time to first token) is known for streamed answers only."""

    text: str
    model: str
    finish_reason: FinishReason
    usage: Usage
    duration_s: float
    ttft_s: float | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the model came to its own end, not to a limit or a filter."""
        return self.finish_reason == "stop"
