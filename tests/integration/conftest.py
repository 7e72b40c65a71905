"""A real HTTP server on loopback whose every byte the test decides."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from omninode.providers.http import HttpClient


@dataclass
class Received:
    """A request as the server saw it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


Respond = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Upstream:
    """Answers with `script` in order, its last entry for ever; `requests` keeps what came."""

    script: list[Respond]
    requests: list[Received] = field(default_factory=list)
    port: int = 0
    gone: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (received := await _request(reader)) is not None:
                respond = self.script[min(len(self.requests), len(self.script) - 1)]
                self.requests.append(received)
                answering = asyncio.ensure_future(respond(received, writer))
                leaving = asyncio.ensure_future(_end_of(reader))
                await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
                if leaving.done() and not answering.done():
                    self.gone += 1
                for task in (answering, leaving):
                    task.cancel()
                await asyncio.gather(answering, leaving, return_exceptions=True)
                if writer.is_closing():
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def _end_of(reader: asyncio.StreamReader) -> None:
    """Return when the client has gone, without eating its next request."""
    while not reader.at_eof() and not reader._buffer:
        await asyncio.sleep(0.005)
    if not reader.at_eof():
        await asyncio.Event().wait()


async def _request(reader: asyncio.StreamReader) -> Received | None:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode().strip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Received(method, path, headers, body)


def chat_body(text: str, **more) -> bytes:
    """A complete answer of the OpenAI protocol."""
    answer = {
        "id": "c",
        "model": "m-served",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5},
    }
    return json.dumps(answer | more).encode()


def respond(status: int = 200, body: bytes = b"{}", *, headers: dict[str, str] | None = None, delay_s: float = 0.0):
    """Answer with `status` and `body`, after `delay_s`."""

    async def answer(_: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(delay_s)
        lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", "content-type: application/json"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        await writer.drain()

    return answer


def chat(text: str = "hello", *, delay_s: float = 0.0, **more):
    """Answer a chat with `text`."""
    return respond(200, chat_body(text, **more), delay_s=delay_s)


def raw(*pieces: bytes, hang: bool = False):
    """Write exactly `pieces`, one flush each, then close (or hang)."""

    async def answer(_: Received, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        if hang:
            await asyncio.Event().wait()
        writer.close()

    return answer


async def hang(_: Received, writer: asyncio.StreamWriter) -> None:
    """Never answer."""
    await asyncio.Event().wait()


@dataclass
class Answers:
    """The ways to answer, for tests."""

    chat = staticmethod(chat)
    chat_body = staticmethod(chat_body)
    respond = staticmethod(respond)
    raw = staticmethod(raw)
    hang = staticmethod(hang)


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
async def upstream() -> AsyncIterator[Callable[..., Awaitable[Upstream]]]:
    """A function that starts a server with a script; all end with the test."""
    servers: list[asyncio.Server] = []
    serving: set[asyncio.Task] = set()

    async def start(*script: Respond) -> Upstream:
        upstream = Upstream(list(script))

        def connected(reader, writer) -> None:
            task = asyncio.ensure_future(upstream.serve(reader, writer))
            serving.add(task)
            task.add_done_callback(serving.discard)

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        servers.append(server)
        upstream.port = server.sockets[0].getsockname()[1]
        return upstream

    yield start
    for server in servers:
        server.close()
    for task in list(serving):
        task.cancel()
    await asyncio.gather(*serving, return_exceptions=True)


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    async with HttpClient() as client:
        yield client


@pytest.fixture
def no_leaks():
    """A check, at the end of the test's own body, that nothing it started is still running."""

    @asynccontextmanager
    async def check():
        before = asyncio.all_tasks()
        yield
        await asyncio.sleep(0.05)
        left = {
            task for task in asyncio.all_tasks() - before if "serve" not in repr(task) and "_end_of" not in repr(task)
        }
        left = {task for task in left if "conftest" not in repr(task)}
        assert not left, left

    return check
