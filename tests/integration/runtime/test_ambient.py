"""The runtime that opens by itself: once per loop, out of the caller's way, closed without a trace."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest

import omninode
from omninode.core import ambient, current
from omninode.core.deadline import Deadline
from omninode.core.errors import ConfigurationError
from omninode.resilience.registry import _registry
from omninode.storage.database import Database

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def environment(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables a user would set: a database, a place for files, no model."""
    address = urlsplit(database_url)
    monkeypatch.setenv("POSTGRES_HOST", parse_qs(address.query)["host"][0])
    monkeypatch.setenv("POSTGRES_USER", address.username or "")
    monkeypatch.setenv("POSTGRES_DB", address.path.removeprefix("/"))
    monkeypatch.setenv("OMNINODE_DATA_DIR", str(tmp_path / "home"))
    monkeypatch.setenv("OMNINODE_OLLAMA_URL", f"http://127.0.0.1:{_unused_port()}")
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY", "OMNINODE_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def _unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def test_all_who_ask_at_once_get_the_same_one_and_shutdown_leaves_no_task():
    before = asyncio.all_tasks()
    first, second = await asyncio.gather(ambient.runtime(), ambient.runtime())
    assert first is second is await ambient.runtime() is ambient.find()
    await omninode.shutdown()
    assert ambient.find() is None
    assert asyncio.all_tasks() == before


async def test_after_a_shutdown_another_one_is_opened():
    first = await ambient.runtime()
    await omninode.shutdown()
    second = await ambient.runtime()
    assert second is not first
    assert await second.database.ping() > 0
    await omninode.shutdown()


async def test_it_outlives_the_deadline_the_run_and_the_caller_that_opened_it():
    async def ask() -> None:
        with current.entered(run_id=uuid4(), deadline=Deadline.after(0)):
            await ambient.runtime()

    asking = asyncio.create_task(ask())
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await (await ambient.runtime()).database.ping() > 0
    await omninode.shutdown()


async def test_bad_settings_reach_everyone_who_asks_and_the_next_call_tries_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CONNECTION_POOL_SIZE", "none")
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="CONNECTION_POOL_SIZE"):
            await ambient.runtime()
    monkeypatch.setenv("CONNECTION_POOL_SIZE", "2")
    assert (await ambient.runtime()).settings.connection_pool_size == 2
    await omninode.shutdown()


def test_the_end_of_the_loop_closes_it_and_what_was_told_is_written(database_url: str):
    run_id = uuid4()

    # More than the bus hands over in one turn, so that some still wait when the loop cancels its tasks.
    async def use() -> None:
        for number in range(500):
            await omninode.track_agent_performance("a", "code", success=True, duration_ms=number, run_id=run_id)

    async def stored() -> list[int]:
        async with Database.open(database_url, pool_size=1) as database, database.acquire() as session:
            rows = await session.driver.fetch(
                "SELECT duration_ms FROM agent_performance WHERE run_id = $1 ORDER BY 1", run_id
            )
        return [row["duration_ms"] for row in rows]

    asyncio.run(use())
    assert asyncio.run(stored()) == list(range(500))


async def test_a_breaker_is_not_split_in_two_by_a_runtime_that_opens_later():
    own = _registry()
    await ambient.runtime()
    assert _registry() is own
    await omninode.shutdown()
