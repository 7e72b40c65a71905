"""A dashboard that is really served, over a database with a history."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
import pytest
from tests.integration.server import history

from omninode.server import Access, BreakerView, SettingView, SharingView, SpoolView, run
from omninode.storage.codecs import prepare_codecs
from omninode.storage.config import ConnectionConfig
from omninode.storage.connection import connect
from omninode.storage.database import Database
from omninode.storage.queries import Queries
from omninode.storage.rollup import Rollups
from omninode.storage.session import Session
from omninode.telemetry.bus import EventBus


@dataclass
class PlainNode:
    """What the server needs of a runtime, without one."""

    database: Database | None
    bus: EventBus
    version: str = "9.9.9"
    is_simulated: bool = False

    def settings(self) -> tuple[SettingView, ...]:
        return (SettingView(name="BATCH_OPERATION_SIZE", value="1000", origin="default"),)

    def breakers(self) -> tuple[BreakerView, ...]:
        return (BreakerView(name="only here", state="half_open", failures=2, retry_after_s=3.5),)

    def sharing(self) -> SharingView:
        return SharingView(mode="listening", heard=4, sensitised=1, failures=2)

    def spool(self) -> SpoolView:
        return SpoolView(accepted=12, written=9, waiting=3)

    def resources(self) -> Mapping[str, float]:
        return {"rss_bytes": 64e6}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return orjson.loads(self.text)


@dataclass
class Site:
    """A running server, asked over real HTTP."""

    url: str
    node: PlainNode
    headers: dict[str, str] = field(default_factory=dict)

    async def get(self, path: str, **headers: str) -> Answer:
        return await asyncio.to_thread(self._get, path, headers)

    def _get(self, path: str, headers: Mapping[str, str]) -> Answer:
        request = urllib.request.Request(self.url + path, headers={**self.headers, **headers})
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return Answer(answer.status, _lowered(answer.headers), answer.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, _lowered(error.headers), error.read().decode())


def _lowered(headers: Mapping[str, str]) -> Mapping[str, str]:
    return {name.lower(): value for name, value in headers.items()}


@asynccontextmanager
async def serving(node: PlainNode, *, access: Access | None = None) -> AsyncIterator[Site]:
    """A server on a free port; ended, with its streams, when the block ends."""
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(run(node, port=0, access=access, on_ready=ready.set_result, stop=stop))
    done, _ = await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
    if task in done:
        task.result()
    try:
        yield Site(url=ready.result(), node=node)
    finally:
        stop.set()
        await task


@pytest.fixture(scope="module")
def told(database_url: str) -> history.History:
    """The history that the module's database holds."""
    made = history.make(datetime.now(UTC))

    async def write() -> None:
        connection = await connect(ConnectionConfig.from_url(database_url))
        try:
            await prepare_codecs(connection)
            for statement, rows in history.statements(made):
                await connection.execute(statement, rows)
            for table, rows in made.tables.items():
                await Rollups().add(Session(connection, Queries()), table, rows)
        finally:
            await connection.close(timeout=5)

    asyncio.run(write())
    return made


@pytest.fixture
def rich_run(told: history.History) -> UUID:
    return told.rich_run


@pytest.fixture
async def site(database: Database, told: history.History) -> AsyncIterator[Site]:
    """A server over the history, with an open bus."""
    async with EventBus() as bus, serving(PlainNode(database, bus)) as running:
        yield running
