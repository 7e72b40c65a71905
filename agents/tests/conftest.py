"""The surroundings of the document's tests: a home of their own, real servers on loopback, nothing left running."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import omninode
from omninode.core import ambient
from omninode.core.clock import SystemClock
from omninode.runtime.settings import Settings
from omninode.simulation import ModelProfile, SimulatedModels
from omninode.storage.database import Database
from omninode.storage.embedded import EmbeddedPostgres

Rows = Callable[..., Awaitable[list[dict[str, Any]]]]


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    """A data directory with the embedded Postgres that ships with the package, running."""
    # Below /tmp itself: the path of a Unix socket is short, and pytest's own directories are closed to others.
    folder = Path(tempfile.mkdtemp(prefix="omn-", dir="/tmp"))
    folder.chmod(0o755)
    server = EmbeddedPostgres(folder / "postgres")
    with ThreadPoolExecutor(max_workers=1) as thread:
        thread.submit(lambda: asyncio.run(server.start())).result()
        yield folder
        thread.submit(lambda: asyncio.run(server.stop())).result()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
async def as_a_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """An empty working directory, no variable set; at the end nothing may be running that was not before."""
    for field in Settings.model_fields.values():
        monkeypatch.delenv(str(field.validation_alias), raising=False)
    monkeypatch.delenv("OMNINODE_CONFIG", raising=False)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("OMNINODE_OLLAMA_URL", f"http://127.0.0.1:{unused.getsockname()[1]}")
    monkeypatch.setenv("OMNINODE_DATA_DIR", str(tmp_path / "unused"))
    monkeypatch.chdir(tmp_path)
    before = asyncio.all_tasks()
    yield
    await omninode.shutdown()
    assert asyncio.all_tasks() - before - {asyncio.current_task()} == set()


@pytest.fixture
def rows(home: Path, monkeypatch: pytest.MonkeyPatch) -> Rows:
    """Reads the database behind the parts that were made without arguments, after all that was told has arrived."""
    monkeypatch.setenv("OMNINODE_DATA_DIR", str(home))

    async def read(statement: str, *values: object) -> list[dict[str, Any]]:
        node = ambient.find()
        if node is not None:
            assert await node.settle() == ()
        config = EmbeddedPostgres(home / "postgres").config
        async with Database.open(config, pool_size=1) as database, database.acquire() as session:
            return [dict(row) for row in await session.driver.fetch(statement, *values)]

    return read


@pytest.fixture
def declare(tmp_path: Path) -> Callable[..., None]:
    """Writes `omninode.toml` into the working directory: lists of tables by name."""

    def write(**lists: Sequence[dict[str, object]]) -> None:
        lines = []
        for name, entries in lists.items():
            for entry in entries:
                lines.append(f"[[{name}]]")
                lines += [f"{key} = {json.dumps(value)}" for key, value in entry.items()]
        (tmp_path / "omninode.toml").write_text("\n".join(lines), encoding="utf-8")

    return write


class Retrieval:
    """A retrieval server that answers nobody before `together` requests are under way at once."""

    def __init__(self, name: str, *, together: int = 1, results: int = 1, status: int = 200) -> None:
        self.name = name
        self.queries: list[str] = []
        self.status = status
        self._results = results
        self._together = together
        self._met = asyncio.Event()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/search"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        size = int(head.split("content-length:")[1].split("\r\n")[0]) if "content-length:" in head else 0
        query = json.loads(await reader.readexactly(size))["query"] if size else ""
        self.queries.append(query)
        if len(self.queries) >= self._together:
            self._met.set()
        await self._met.wait()
        found = [{"text": f"{self.name} on {query}, passage {number}"} for number in range(self._results)]
        body = json.dumps({"results": found}).encode()
        writer.write(
            f"HTTP/1.1 {self.status} X\r\nconnection: close\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        await writer.drain()
        writer.close()
        await writer.wait_closed()


@pytest.fixture
async def retrieval() -> AsyncIterator[Callable[..., Awaitable[Retrieval]]]:
    """A function that starts a retrieval server; all end with the test."""
    started: list[Retrieval] = []

    async def start(name: str, **options: int) -> Retrieval:
        server = Retrieval(name, **options)
        await server.start()
        started.append(server)
        return server

    yield start
    for server in started:
        await server.stop()


class Together(SystemClock):
    """A clock on which nobody has waited long enough before `number` wait at once."""

    def __init__(self, number: int) -> None:
        self.waiting = self.most = 0
        self._number = number
        self._met = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        if self.waiting >= self._number:
            self._met.set()
        try:
            await self._met.wait()
        finally:
            self.waiting -= 1


@pytest.fixture
async def models(declare: Callable[..., None]) -> AsyncIterator[Callable[..., Awaitable[SimulatedModels]]]:
    """A function that starts five simulated models as a real HTTP server, and declares them as voters."""
    started: list[SimulatedModels] = []

    async def start(*, clock: SystemClock | None = None) -> SimulatedModels:
        profiles = [ModelProfile(name=f"voter-{number}", quality=1.0) for number in range(1, 6)]
        simulated = SimulatedModels(profiles, clock=clock, latency_scale=0 if clock is None else 1)
        await simulated.start()
        started.append(simulated)
        wanted = ("name", "base_url", "model", "roles")
        declare(deployments=[{key: entry[key] for key in wanted} for entry in simulated.deployments()])
        return simulated

    yield start
    for simulated in started:
        await simulated.close()


@pytest.fixture
def together() -> type[Together]:
    """The clock that lets nobody go before all have come."""
    return Together
