"""The one HTTP client: every byte that leaves for a provider or a retrieval source goes through here.

It follows no redirects (a redirected request would carry its key to another host), bounds what it reads, keeps a pool
of connections per host and takes its time limit from the caller and the deadline in `core.current`, whichever is
nearer. Failures come out as the errors of `core.errors`.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

import orjson

from omninode.core import current
from omninode.core.deadline import DEADLINE_HEADER, Deadline
from omninode.core.errors import DeadlineExceededError, InvalidArgumentError, MalformedAnswerError, OmniNodeError
from omninode.providers import errors

if TYPE_CHECKING:
    import aiohttp

__all__ = ["HttpAnswer", "HttpClient", "HttpLimits", "HttpStatistics", "HttpStream", "parsed", "with_deadline"]

_ERROR_BODY_BYTES = 65_536
_JSON_HEADERS = {"content-type": "application/json", "accept": "application/json"}


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """Bounds of the client: connections, seconds, bytes.

    `timeout_s` holds where the caller names no time of its own; `idle_timeout_s` is the longest silence inside an
    answer. A request beyond `max_connections_per_host` waits for a connection, inside its own time limit.
    """

    max_connections: int = 256
    max_connections_per_host: int = 256
    connect_timeout_s: float = 10.0
    timeout_s: float = 120.0
    idle_timeout_s: float = 60.0
    max_answer_bytes: int = 16 * 1024 * 1024

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) <= 0:
                raise InvalidArgumentError(f"{name} is {getattr(self, name)}; it must be greater than zero")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpStatistics:
    """What the client has done since it was made."""

    requests: int = 0
    failed: int = 0
    received_bytes: int = 0
    open_requests: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """A whole answer, whatever its status; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bounds:
    """One request: what it is called in errors and how long it may take."""

    subject: str
    own_s: float
    allowed_s: float
    is_deadline: bool

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Run the body; failures of the connection and of the time come out as our errors."""
        import aiohttp

        try:
            yield
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if isinstance(error, DeadlineExceededError):
                raise
            failure = errors.from_transport(error, subject=self.subject)
            if not (self.is_deadline and isinstance(error, TimeoutError) and _has_passed()):
                raise failure from error
            # As in resilience.timeout: one that had at least half its own time and did not answer is to blame.
            cause = failure if self.allowed_s >= self.own_s / 2 else error
            raise DeadlineExceededError(
                f"{self.subject}: not finished within {self.allowed_s:.1f} s; allow more time"
            ) from cause


class HttpStream:
    """An answer whose body is still arriving."""

    def __init__(self, response: aiohttp.ClientResponse, *, client: HttpClient, bounds: _Bounds) -> None:
        self._response = response
        self._client = client
        self._bounds = bounds
        self.status = response.status
        self.headers = _headers(response)
        self._size = 0

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300

    async def chunk(self) -> bytes:
        """The next bytes of the body, b"" at its end.

        Raises MalformedAnswerError when it is cut off or exceeds the limit.
        """
        with self._bounds.translated():
            data = await self._response.content.readany()
        self._size += len(data)
        self._client.count_received(len(data))
        limit = self._client.limits.max_answer_bytes
        if self._size > limit:
            raise MalformedAnswerError(f"{self._bounds.subject}: the answer exceeds {limit} bytes", retryable=False)
        return data

    async def beginning(self) -> bytes:
        """The first 64 KiB of the body: enough for what an error says about itself."""
        parts: list[bytes] = []
        while sum(map(len, parts)) < _ERROR_BODY_BYTES and (data := await self.chunk()):
            parts.append(data)
        return b"".join(parts)[:_ERROR_BODY_BYTES]


class HttpClient:
    """JSON and byte streams over HTTP, from one session that is opened by the first request.

    Use it as an async context manager or call `close`. Safe to use concurrently from one event loop. `proxy` is the
    address of an HTTP proxy; proxies named in the environment are not looked up here.
    """

    def __init__(self, *, limits: HttpLimits | None = None, proxy: str | None = None) -> None:
        self.limits = limits or HttpLimits()
        self._proxy = proxy
        self._session: aiohttp.ClientSession | None = None
        self._is_closed = False
        self._requests = self._failed = self._received_bytes = self._open_requests = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection. Closing twice is harmless; a closed client refuses requests."""
        self._is_closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def statistics(self) -> HttpStatistics:
        """Counts since the client was made."""
        return HttpStatistics(
            requests=self._requests,
            failed=self._failed,
            received_bytes=self._received_bytes,
            open_requests=self._open_requests,
        )

    async def get_json(
        self,
        url: str,
        *,
        subject: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        secrets: tuple[str, ...] = (),
    ) -> object:
        """The parsed JSON body of GET `url`; see `post_json` for the arguments and errors."""
        answer = await self.request("GET", url, subject=subject, headers=headers, timeout_s=timeout_s)
        return parsed(answer, subject=subject or f"GET {errors.plain_url(url)}", secrets=secrets)

    async def post_json(
        self,
        url: str,
        body: object,
        *,
        subject: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        secrets: tuple[str, ...] = (),
    ) -> object:
        """The parsed JSON body of POST `url`.

        Args:
            url: an http or https address.
            body: bytes are sent as they are (they hold JSON), anything else is encoded.
            subject: who is asked for what; begins every error message.
            headers: sent beside our own.
            timeout_s: the longest the whole exchange may take; the deadline of the scope holds as well.
            secrets: removed from what the other side is quoted with in errors.

        Raises the errors of `providers.errors` for a status that is no success or a failed connection,
        MalformedAnswerError for a body that is no JSON, DeadlineExceededError when the scope's deadline came first.
        """
        answer = await self.request("POST", url, body=body, subject=subject, headers=headers, timeout_s=timeout_s)
        return parsed(answer, subject=subject or f"POST {errors.plain_url(url)}", secrets=secrets)

    async def request(
        self,
        method: str,
        url: str,
        *,
        body: object = None,
        subject: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> HttpAnswer:
        """The whole answer, whatever its status; raises when the connection or the time fails."""
        subject = subject or f"{method} {errors.plain_url(url)}"
        async with self._exchange(
            method, url, body=body, subject=subject, headers=headers or {}, timeout_s=timeout_s
        ) as stream:
            parts: list[bytes] = []
            while data := await stream.chunk():
                parts.append(data)
            return HttpAnswer(status=stream.status, headers=stream.headers, body=b"".join(parts))

    @asynccontextmanager
    async def stream(
        self,
        url: str,
        body: object,
        *,
        subject: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> AsyncIterator[HttpStream]:
        """POST `body` and hand out the answer while it arrives; leaving the block ends the request."""
        subject = subject or f"POST {errors.plain_url(url)}"
        async with self._exchange(
            "POST", url, body=body, subject=subject, headers=headers or {}, timeout_s=timeout_s
        ) as answer:
            yield answer

    def count_received(self, size_bytes: int) -> None:
        """Count bytes of an answer; called by the streams of this client."""
        self._received_bytes += size_bytes

    @asynccontextmanager
    async def _exchange(
        self,
        method: str,
        url: str,
        *,
        body: object,
        subject: str,
        headers: Mapping[str, str],
        timeout_s: float | None,
    ) -> AsyncIterator[HttpStream]:
        """One request, from opening the connection to the end of the caller's block."""
        import aiohttp

        bounds = self._bounds(subject, timeout_s)
        timeout = aiohttp.ClientTimeout(
            total=bounds.allowed_s,
            sock_connect=min(bounds.allowed_s, self.limits.connect_timeout_s),
            sock_read=self.limits.idle_timeout_s,
        )
        self._requests += 1
        self._open_requests += 1
        try:
            with bounds.translated():
                response = await self._opened().request(
                    method,
                    url,
                    data=_encoded(body),
                    headers={**_JSON_HEADERS, **headers},
                    timeout=timeout,
                    allow_redirects=False,
                )
            async with response:
                yield HttpStream(response, client=self, bounds=bounds)
        except OmniNodeError:
            self._failed += 1
            raise
        finally:
            self._open_requests -= 1

    def _bounds(self, subject: str, timeout_s: float | None) -> _Bounds:
        own = self.limits.timeout_s if timeout_s is None else timeout_s
        deadline = current.scope().deadline
        left = deadline.remaining() if deadline is not None else math.inf
        if left <= 0:
            raise DeadlineExceededError(f"{subject}: no time was left to begin; allow a longer deadline")
        return _Bounds(subject=subject, own_s=own, allowed_s=min(own, left), is_deadline=left <= own)

    def _opened(self) -> aiohttp.ClientSession:
        if self._is_closed:
            raise InvalidArgumentError("this HttpClient is closed; make another one")
        if self._session is None:
            import aiohttp

            connector = aiohttp.TCPConnector(
                limit=self.limits.max_connections, limit_per_host=self.limits.max_connections_per_host
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"user-agent": "omninode"},
                proxy=self._proxy,
            )
        return self._session


def with_deadline(headers: Mapping[str, str], *, timeout_s: float) -> Mapping[str, str]:
    """`headers` and the time that is left to a request sent now: `timeout_s`, or the deadline of the scope if nearer."""
    left = Deadline.after(timeout_s).narrowed(current.scope().deadline)
    return {**headers, DEADLINE_HEADER: left.header()}


def parsed(answer: HttpAnswer, *, subject: str, secrets: tuple[str, ...] = ()) -> object:
    """The JSON of `answer`; raises the error of its status, MalformedAnswerError when it is no JSON."""
    if not answer.is_success:
        raise errors.from_status(
            answer.status, subject=subject, headers=answer.headers, body=answer.body, secrets=secrets
        )
    try:
        return orjson.loads(answer.body)
    except orjson.JSONDecodeError as error:
        raise MalformedAnswerError(f"{subject}: the answer is not JSON", status=answer.status) from error


def _has_passed() -> bool:
    deadline = current.scope().deadline
    return deadline is not None and deadline.remaining() < 0.01


def _encoded(body: object) -> bytes | None:
    if body is None or isinstance(body, bytes):
        return body
    return orjson.dumps(body)


def _headers(response: aiohttp.ClientResponse) -> Mapping[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}
