"""What a provider is to the rest of the house: something that completes a chat request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Protocol, Self

from omninode.providers.messages import ChatAnswer, ChatRequest

__all__ = ["AnswerStream", "Provider"]


class AnswerStream(Protocol):
    """An answer as it is written: an async iterator of text, which is never cut inside a character.

    Use it as an async context manager: leaving early ends the upstream request. `answer` is the whole answer, None
    until the stream has come to its proper end; a stream that is cut off raises MalformedAnswerError instead.
    """

    @property
    def answer(self) -> ChatAnswer | None:
        """The whole answer, once the stream has ended properly."""
        ...

    def __aiter__(self) -> AsyncIterator[str]:
        """The pieces of text in order; to be iterated once."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Provider(Protocol):
    """One endpoint that serves models, over one protocol. Safe to call concurrently.

    Every method raises the errors of `core.errors`: AuthenticationError, RequestRejectedError, ThrottledError,
    ProviderUnavailableError, AttemptTimeoutError or MalformedAnswerError, each naming the provider.
    """

    @property
    def name(self) -> str:
        """What it is called in messages."""
        ...

    async def complete(self, request: ChatRequest, *, model: str) -> ChatAnswer:
        """The whole answer of `model` to `request`."""
        ...

    def stream(self, request: ChatRequest, *, model: str) -> AnswerStream:
        """The answer of `model` to `request`, as it is written. Nothing is sent before the stream is entered."""
        ...

    async def models(self) -> tuple[str, ...]:
        """The models the endpoint offers; also the cheapest proof that it is there and accepts our key."""
        ...

    async def close(self) -> None:
        """Give back what it holds; the HTTP client belongs to whoever made it. Closing twice is harmless."""
        ...
