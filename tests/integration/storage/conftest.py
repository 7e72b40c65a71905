"""Servers and databases of their own: one that is stopped, an empty one, one on an older server where there is one."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from omninode.storage.config import ConnectionConfig
from omninode.storage.connection import connect
from omninode.storage.database import Database
from omninode.storage.embedded import EmbeddedPostgres
from omninode.storage.migrate import migrate

# What a server of the user's own must do as the embedded one does it: these run on both.
_ON_BOTH = {
    *(
        "test_activity",
        "test_audit",
        "test_batch",
        "test_batch_calls",
        "test_batch_types",
        "test_database",
        "test_flusher",
    ),
    *("test_advisor", "test_migrate", "test_news", "test_partitions", "test_pool", "test_retention", "test_state"),
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of `_ON_BOTH` on the embedded server, and on an older one where there is one."""
    if metafunc.module.__name__.rpartition(".")[2] in _ON_BOTH and "database_url" in metafunc.fixturenames:
        servers = {"embedded": "embedded", "older_server": "postgres15"}
        metafunc.parametrize("database_url", servers, ids=servers.values(), indirect=True, scope="module")


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


@pytest.fixture
async def older(older_server: ConnectionConfig) -> AsyncIterator[Database]:
    """An empty database on PostgreSQL 15."""
    connection = await connect(older_server)
    await connection.execute("DROP DATABASE IF EXISTS older_one WITH (FORCE)")
    await connection.execute("CREATE DATABASE older_one")
    await connection.close()
    async with Database.open(replace(older_server, database="older_one"), pool_size=2) as opened:
        yield opened
