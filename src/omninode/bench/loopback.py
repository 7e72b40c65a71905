"""A real HTTP server on loopback whose answers, delays and faults a scenario decides, and which counts what reaches it.

It speaks just enough HTTP/1.1 (POST and GET with a length, connections kept alive) for a comparison in which both arms
pay the same: a socket, a parser, a real wait.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from omninode.core.concurrency import cancel_and_wait
from omninode.core.errors import InvalidArgumentError

__all__ = ["Loopback", "Reply"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What to answer, after `delay_s`."""

    status: int = 200
    body: bytes = b"{}"
    delay_s: float = 0.0


class Loopback:
    """Answers each request with what `decide(path)` says. `hits` counts requests by path, `failures` those it failed."""

    def __init__(self, decide: Callable[[str], Reply]) -> None:
        self.decide = decide
        self.hits: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    def url(self, path: str = "") -> str:
        """The address of `path` (it begins with `/`)."""
        if self._server is None:
            raise InvalidArgumentError("the loopback server is not open; enter it with `async with` first")
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}{path}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
            await cancel_and_wait(list(self._connections))

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                path = await _read(reader)
                self.hits[path] += 1
                reply = self.decide(path)
                if reply.status >= 400:
                    self.failures[path] += 1
                if reply.delay_s:
                    await asyncio.sleep(reply.delay_s)
                writer.write(_encoded(reply))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client left
        finally:
            writer.close()


async def _read(reader: asyncio.StreamReader) -> str:
    """The path of the next request, its body read and dropped."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
    for line in lines:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            await reader.readexactly(int(value))
    return first.split(b" ")[1].decode("ascii")


def _encoded(reply: Reply) -> bytes:
    head = f"HTTP/1.1 {reply.status} -\r\ncontent-type: application/json\r\ncontent-length: {len(reply.body)}\r\n\r\n"
    return head.encode("ascii") + reply.body
