"""An answer that arrives as server-sent events, whatever protocol is inside them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from omninode.core.errors import InvalidArgumentError, MalformedAnswerError
from omninode.core.usage import Usage
from omninode.providers import errors, tokens
from omninode.providers.http import HttpClient, HttpStream
from omninode.providers.messages import ChatAnswer, ChatRequest, FinishReason
from omninode.providers.sse import ServerEvent, SseParser

__all__ = ["Decoder", "Endpoint", "SseAnswerStream"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a request goes and what goes with it; `subject` begins error messages. Its repr holds no key."""

    http: HttpClient
    url: str
    headers: Mapping[str, str]
    secrets: tuple[str, ...]
    subject: str
    timeout_s: float

    def __repr__(self) -> str:
        return f"Endpoint({self.subject!r})"


class Decoder(Protocol):
    """What a protocol says in its events."""

    @property
    def model(self) -> str | None:
        """The model that answers, once it was named."""
        ...

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the model stopped, once it said so."""
        ...

    @property
    def usage(self) -> Usage | None:
        """The usage reported so far."""
        ...

    @property
    def is_ended(self) -> bool:
        """Whether the end that the protocol demands has come."""
        ...

    def take(self, event: ServerEvent) -> str:
        """The text `event` adds; raises the error that it reports."""
        ...


class SseAnswerStream:
    """See `AnswerStream`. Made by a provider; the request is sent when the stream is entered.

    `mend` is asked, with status and body of a refusal, for another request to send instead.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        body: bytes,
        *,
        request: ChatRequest,
        model: str,
        decoder: Decoder,
        mend: Callable[[int, bytes], bytes | None] | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._body = body
        self._request = request
        self._model = model
        self._decoder = decoder
        self._mend = mend
        self._opened: AbstractAsyncContextManager[HttpStream] | None = None
        self._stream: HttpStream | None = None
        self._started = 0.0
        self._first_s: float | None = None
        self._answer: ChatAnswer | None = None
        self._parser = SseParser()
        self._parts: list[str] = []
        self._ready: deque[str] = deque()

    @property
    def answer(self) -> ChatAnswer | None:
        """See `AnswerStream.answer`."""
        return self._answer

    async def __aenter__(self) -> Self:
        self._started = time.monotonic()
        body: bytes | None = self._body
        while body is not None:
            stream = await self._enter(body)
            if stream.is_success:
                self._stream = stream
                return self
            try:
                refusal = await stream.beginning()
            finally:
                await self.__aexit__(None, None, None)
            body = self._mend(stream.status, refusal) if self._mend is not None else None
        end = self._endpoint
        raise errors.from_status(
            stream.status, subject=end.subject, headers=stream.headers, body=refusal, secrets=end.secrets
        )

    async def _enter(self, body: bytes) -> HttpStream:
        end = self._endpoint
        self._opened = end.http.stream(
            end.url,
            body,
            subject=end.subject,
            headers={**end.headers, "accept": "text/event-stream"},
            timeout_s=end.timeout_s,
        )
        return await self._opened.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        opened, self._opened, self._stream = self._opened, None, None
        if opened is not None:
            # What the caller's block raised is not a failure of the connection.
            await opened.__aexit__(None, None, None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        while not self._ready:
            if self._answer is not None:
                raise StopAsyncIteration
            await self._advance()
        return self._ready.popleft()

    async def _advance(self) -> None:
        """Read once; afterwards there is text to hand out, or the answer, or neither yet."""
        if self._decoder.is_ended:
            self._answer = self._ended("".join(self._parts))
            return
        if self._stream is None:
            raise InvalidArgumentError(f"{self._endpoint.subject}: enter the stream before reading (async with)")
        chunk = await self._stream.chunk()
        if not chunk:
            self._answer = self._ended("".join(self._parts))
        for event in self._parser.feed(chunk):
            if self._decoder.is_ended:
                return
            self._take(self._decoder.take(event))

    def _take(self, text: str) -> None:
        if not text:
            return
        if self._first_s is None:
            self._first_s = time.monotonic() - self._started
        self._parts.append(text)
        self._ready.append(text)

    def _ended(self, text: str) -> ChatAnswer:
        decoder = self._decoder
        if decoder.finish_reason is None or not decoder.is_ended:
            raise MalformedAnswerError(f"{self._endpoint.subject}: the stream was cut off after {len(text)} characters")
        return ChatAnswer(
            text=text,
            model=decoder.model or self._model,
            finish_reason=decoder.finish_reason,
            usage=decoder.usage or tokens.estimated(self._request.messages, text),
            duration_s=time.monotonic() - self._started,
            ttft_s=self._first_s,
        )
