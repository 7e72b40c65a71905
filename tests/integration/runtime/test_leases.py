"""Which runs are in progress: told by locked files, which outlive no process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from omninode.core.events import RunFinished, RunStarted
from omninode.core.ids import uuid7
from omninode.runtime.leases import RunLeases
from omninode.runtime.runtime import open_runtime
from omninode.runtime.settings import Settings
from omninode.storage.database import Database
from omninode.telemetry.bus import EventBus

pytestmark = pytest.mark.integration


@pytest.fixture
async def bus(tmp_path: Path) -> AsyncIterator[EventBus]:
    """A bus that leases follow, in a directory that is not there yet."""
    carried = EventBus()
    RunLeases(tmp_path / "running").follow(carried)
    async with carried:
        yield carried


def started(run_id: UUID) -> RunStarted:
    return RunStarted(run_id=run_id, prompt="p")


def finished(run_id: UUID) -> RunFinished:
    return RunFinished(run_id=run_id, prompt="p", started_ns=0, status="done", duration_ms=1.0)


async def test_emitting_touches_no_file_and_the_bus_does(bus: EventBus, tmp_path: Path) -> None:
    run_id = uuid7()

    bus.emit(started(run_id))
    assert list(tmp_path.iterdir()) == []
    await bus.drain()
    assert [path.name for path in (tmp_path / "running").iterdir()] == [str(run_id)]

    bus.emit(finished(run_id))
    await bus.drain()
    assert list((tmp_path / "running").iterdir()) == []


async def store_running(database: Database, run_id: UUID) -> None:
    async with database.acquire() as session:
        await session.driver.execute(
            "INSERT INTO runs (id, started_at, status, prompt) VALUES ($1, now(), 'running', 'p')", run_id
        )


async def status_of(database: Database, run_id: UUID) -> str:
    async with database.acquire() as session:
        return str(await session.driver.fetchval("SELECT status FROM runs WHERE id = $1", run_id))


async def test_a_run_that_lasts_is_not_lost(bus: EventBus, database: Database, tmp_path: Path) -> None:
    run_id = uuid7()
    bus.emit(started(run_id))
    await bus.drain()
    await store_running(database, run_id)

    assert await RunLeases(tmp_path / "running").mark_lost(database) == 0

    assert await status_of(database, run_id) == "running"


async def test_a_killed_run_is_lost_as_soon_as_a_process_opens_and_not_when_it_closes(
    database: Database, tmp_path: Path
) -> None:
    run_id = uuid7()
    await store_running(database, run_id)
    (tmp_path / "running").mkdir()
    (tmp_path / "running" / str(run_id)).touch()  # as the kernel leaves it: nobody holds its lock
    config = database.config
    settings = Settings(
        postgres_host=config.host, postgres_user=config.user, postgres_db=config.database, data_dir=tmp_path
    )

    async with open_runtime(settings, needs_models=False), asyncio.timeout(20):
        while await status_of(database, run_id) != "lost":
            await asyncio.sleep(0.02)

    assert list((tmp_path / "running").iterdir()) == []
