"""A server of its own for tests that stop it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from omninode.storage.database import Database
from omninode.storage.embedded import EmbeddedPostgres
from omninode.storage.migrate import migrate


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
