"""What every test may ask for.

`embedded` is one Postgres per test session (per worker under xdist), in a short path of its own. `database_url` is a
migrated database that belongs to one test module; `database` is a pool on it that belongs to one test. Tests of one
module share rows, so they use ids of their own or empty the tables they count.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest

from omninode.storage.config import ConnectionConfig
from omninode.storage.connection import connect
from omninode.storage.database import Database
from omninode.storage.embedded import EmbeddedPostgres
from omninode.storage.migrate import migrate

T = TypeVar("T")

_TEMPLATE = "template_omninode"
_numbers = itertools.count(1)


def run_apart(function: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine to its end from a fixture that is not async, in a thread and loop of its own."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(lambda: asyncio.run(function())).result()


def config_of(server: EmbeddedPostgres, database: str) -> ConnectionConfig:
    """How to reach another database of the same server."""
    return ConnectionConfig(host=server.config.host, user=server.config.user, database=database)


async def run_sql(config: ConnectionConfig, text: str) -> None:
    """Run statements on a connection of their own."""
    connection = await connect(config)
    try:
        await connection.execute(text)
    finally:
        await connection.close(timeout=5)


@pytest.fixture(scope="session")
def embedded() -> Iterator[EmbeddedPostgres]:
    """A running Postgres with a migrated template database."""
    # Below /tmp itself: the path of a Unix socket is short, and pytest's own directories are closed to others.
    folder = Path(tempfile.mkdtemp(prefix="omn-", dir="/tmp"))
    folder.chmod(0o755)
    server = EmbeddedPostgres(folder / "db")

    async def prepare() -> None:
        await server.start()
        await run_sql(server.config, f"CREATE DATABASE {_TEMPLATE}")
        async with Database.open(config_of(server, _TEMPLATE), pool_size=1) as database:
            await migrate(database)

    try:
        run_apart(prepare)
        yield server
    finally:
        run_apart(server.stop)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def database_url(embedded: EmbeddedPostgres) -> Iterator[str]:
    """The URL of a migrated, empty database for one test module."""
    name = f"test_{next(_numbers)}"
    run_apart(lambda: run_sql(embedded.config, f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE} STRATEGY FILE_COPY"))
    yield config_of(embedded, name).dsn
    run_apart(lambda: run_sql(embedded.config, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An open database for one test, on the module's own database."""
    async with Database.open(database_url, pool_size=8) as opened:
        yield opened
