"""Servers and databases of their own: one that is stopped, an empty one, one on an older server where there is one."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from omninode.storage.config import ConnectionConfig
from omninode.storage.connection import connect
from omninode.storage.database import Database
from omninode.storage.embedded import EmbeddedPostgres
from omninode.storage.migrate import migrate

_OLDER = Path("/usr/lib/postgresql/15/bin")


@pytest.fixture
async def own_server() -> AsyncIterator[EmbeddedPostgres]:
    """A running, migrated Postgres that nobody else uses."""
    folder = Path(tempfile.mkdtemp(prefix="omn-", dir="/tmp"))
    folder.chmod(0o755)
    server = EmbeddedPostgres(folder / "db")
    try:
        await server.start()
        async with Database.open(server.config, pool_size=1) as database:
            await migrate(database)
        yield server
    finally:
        await server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def empty(database: Database) -> AsyncIterator[Database]:
    """A database of its own without any schema."""
    connection = await connect(replace(database.config, database="postgres"))
    await connection.execute("DROP DATABASE IF EXISTS empty_one WITH (FORCE)")
    await connection.execute("CREATE DATABASE empty_one")
    async with Database.open(replace(database.config, database="empty_one"), pool_size=2) as opened:
        yield opened
    await connection.execute("DROP DATABASE empty_one WITH (FORCE)")
    await connection.close()


@pytest.fixture(scope="session")
def older_server() -> Iterator[ConnectionConfig]:
    """A PostgreSQL 15, as Debian 12 ships it; skips where there is none."""
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
        options = f"-k {folder} -c listen_addresses='' -c fsync=off"
        run(str(_OLDER / "pg_ctl"), "-D", f"{folder}/db", "-w", "-o", options, "-l", f"{folder}/log", "start")
        yield ConnectionConfig(host=str(folder), user="postgres", database="postgres")
    finally:
        subprocess.run(
            [*user, str(_OLDER / "pg_ctl"), "-D", f"{folder}/db", "-m", "immediate", "stop"],
            check=False,
            capture_output=True,
            cwd="/tmp",
        )
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def older(older_server: ConnectionConfig) -> AsyncIterator[Database]:
    """An empty database on PostgreSQL 15."""
    connection = await connect(older_server)
    await connection.execute("DROP DATABASE IF EXISTS older_one WITH (FORCE)")
    await connection.execute("CREATE DATABASE older_one")
    await connection.close()
    async with Database.open(replace(older_server, database="older_one"), pool_size=2) as opened:
        yield opened
