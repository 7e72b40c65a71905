"""What every test may ask for.

`embedded` is one Postgres per test session (per worker under xdist), in a short path of its own. `database_url` is a
migrated database that belongs to one test module; `database` is a pool on it that belongs to one test. Tests of one
module share rows, so they use ids of their own or empty the tables they count.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
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
_OLDER = Path("/usr/lib/postgresql/15/bin")
_numbers = itertools.count(1)


def run_apart(function: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine to its end from a fixture that is not async, in a thread and loop of its own."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(lambda: asyncio.run(function())).result()


async def run_sql(config: ConnectionConfig, text: str) -> None:
    """Run statements on a connection of their own."""
    connection = await connect(config)
    try:
        await connection.execute(text)
    finally:
        await connection.close(timeout=5)


async def _prepare(config: ConnectionConfig) -> None:
    await run_sql(config, f"CREATE DATABASE {_TEMPLATE}")
    async with Database.open(replace(config, database=_TEMPLATE), pool_size=1) as database:
        await migrate(database)


@pytest.fixture(scope="session")
def embedded() -> Iterator[EmbeddedPostgres]:
    """A running Postgres with a migrated template database."""
    # Below /tmp itself: the path of a Unix socket is short, and pytest's own directories are closed to others.
    folder = Path(tempfile.mkdtemp(prefix="omn-", dir="/tmp"))
    folder.chmod(0o755)
    server = EmbeddedPostgres(folder / "db")

    try:
        run_apart(server.start)
        run_apart(lambda: _prepare(server.config))
        yield server
    finally:
        run_apart(server.stop)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def older_server() -> Iterator[ConnectionConfig]:
    """A PostgreSQL 15, as Debian 12 ships it, with a migrated template database; skips where there is none."""
    if not _OLDER.is_dir():
        pytest.skip("there is no PostgreSQL 15 here")
    # Below /tmp itself: the path of a Unix socket is short.
    folder = Path(tempfile.mkdtemp(prefix="omn15-", dir="/tmp"))
    folder.chmod(0o777)
    # Postgres refuses to run as root.
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []

    def run(*words: str) -> None:
        subprocess.run([*user, *words], check=True, capture_output=True, cwd="/tmp", timeout=120)

    try:
        run(str(_OLDER / "initdb"), "-D", f"{folder}/db", "-A", "trust", "-U", "postgres", "--no-sync")
        options = f"-k {folder} -c listen_addresses='' -c fsync=off -c shared_preload_libraries=pg_stat_statements"
        run(str(_OLDER / "pg_ctl"), "-D", f"{folder}/db", "-w", "-o", options, "-l", f"{folder}/log", "start")
        config = ConnectionConfig(host=str(folder), user="postgres", database="postgres")
        run_apart(lambda: _prepare(config))
        yield config
    finally:
        subprocess.run(
            [*user, str(_OLDER / "pg_ctl"), "-D", f"{folder}/db", "-m", "immediate", "stop"],
            check=False,
            capture_output=True,
            cwd="/tmp",
        )
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a migrated, empty database for one test module; on another server where the parameter names one."""
    server = request.getfixturevalue(getattr(request, "param", "embedded"))
    config = server.config if isinstance(server, EmbeddedPostgres) else server
    name = f"test_{next(_numbers)}"
    run_apart(lambda: run_sql(config, f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE} STRATEGY FILE_COPY"))
    yield replace(config, database=name).dsn
    run_apart(lambda: run_sql(config, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An open database for one test, on the module's own database."""
    async with Database.open(database_url, pool_size=8) as opened:
        yield opened
