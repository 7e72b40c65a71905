"""News of breakers between processes, over real NOTIFY."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from omninode.core.clock import SystemClock
from omninode.core.errors import DatabaseError, DatabaseUnavailableError
from omninode.resilience.circuit import CircuitState
from omninode.resilience.peers import PeerListener, PeerNews, Peers
from omninode.resilience.registry import BreakerRegistry
from omninode.resilience.snapshot import BreakerSnapshot
from omninode.storage.config import PoolConfig
from omninode.storage.connection import connect
from omninode.storage.database import Database
from omninode.storage.news import DatabaseNews
from omninode.storage.state import DatabaseStateStore

pytestmark = pytest.mark.integration

OPEN, CLOSED = CircuitState.OPEN, CircuitState.CLOSED


def snapshot(state: CircuitState = OPEN, *, name: str = "gpt", generation: int = 1) -> BreakerSnapshot:
    now = SystemClock().now()
    return BreakerSnapshot(
        name=name, state=state, failures=5, successes=0, generation=generation,
        opened_at=now if state is OPEN else None, reopen_at=now + timedelta(seconds=20) if state is OPEN else None,
        reason="", updated_at=now,
    )  # fmt: skip


async def tell(store: DatabaseStateStore, *entries: BreakerSnapshot) -> None:
    await store.save(entries, [], moved=[entry.name for entry in entries])


async def until(is_so, *, within_s: float = 60.0) -> None:
    """Wait for another task to come so far; the limit is for when it never does."""
    async with asyncio.timeout(within_s):
        while not is_so():
            await asyncio.sleep(0.02)


class Listening:
    """A `DatabaseNews` at work, and what it has heard."""

    def __init__(self, source: DatabaseNews) -> None:
        self.source = source
        self.heard: list[PeerNews] = []
        self.times = 0

    def hear(self, news) -> None:
        self.times += 1
        self.heard += news

    async def __aenter__(self):
        self.task = asyncio.ensure_future(self.source.listen(self.hear))
        await until(lambda: self.times or self.task.done())
        return self

    async def __aexit__(self, *_):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    def names(self) -> list[tuple[str, CircuitState, int]]:
        return [(entry.name, entry.state, entry.generation) for entry in self.heard]


@pytest.fixture(autouse=True)
async def empty(database: Database) -> None:
    await sql(database, "TRUNCATE circuit_breaker_state, retry_manager_state")


async def sql(database: Database, text: str, *args: object):
    connection = await connect(database.config)
    try:
        return await connection.fetch(text, *args)
    finally:
        await connection.close(timeout=5)


async def test_what_others_save_is_heard_and_what_we_save_ourselves_is_not(database: Database) -> None:
    mine, other = DatabaseStateStore(database), DatabaseStateStore(database)
    async with Listening(DatabaseNews(database, sender=mine.sender)) as listening:
        await tell(mine, snapshot(name="own"))
        await tell(other, snapshot(name="a"), snapshot(name="b", generation=4))
        await other.save([snapshot(name="c")], [], moved=[])
        await tell(other, snapshot(CLOSED, name="a", generation=2))
        await until(lambda: len(listening.heard) >= 3)
        assert listening.names() == [("a", OPEN, 1), ("b", OPEN, 4), ("a", CLOSED, 2)]
        assert {entry.sender for entry in listening.heard} == {str(other.sender)}
        assert 19 < listening.heard[0].left_s <= 20


async def test_what_was_not_stored_is_not_told(database: Database) -> None:
    other = DatabaseStateStore(database)
    async with Listening(DatabaseNews(database, sender=UUID(int=0))) as listening:
        with pytest.raises(DatabaseError):
            await tell(other, snapshot(name="no\0name"))
        await tell(other, snapshot(name="marker"))
        await until(lambda: listening.heard)
        assert listening.names() == [("marker", OPEN, 1)]


async def test_what_was_told_before_is_heard_at_the_start(database: Database) -> None:
    mine, other = DatabaseStateStore(database), DatabaseStateStore(database)
    await tell(other, snapshot(name="a"), snapshot(CLOSED, name="b"))
    await tell(mine, snapshot(name="own"))
    await sql(
        database,
        "INSERT INTO circuit_breaker_state SELECT 'over', state, failures, successes, generation, opened_at, "
        "now() - interval '11 s', reason, now() - interval '40 s', sender FROM circuit_breaker_state WHERE name = 'a'",
    )
    async with Listening(DatabaseNews(database, sender=mine.sender)) as listening:
        assert listening.names() == [("a", OPEN, 1), ("b", CLOSED, 1)]


async def test_what_is_isolated_by_hand_is_no_news(database: Database) -> None:
    isolated = BreakerSnapshot(
        name="i", state=OPEN, failures=0, successes=0, generation=1, opened_at=SystemClock().now(), reopen_at=None,
        reason="by hand", updated_at=SystemClock().now(),
    )  # fmt: skip
    async with Listening(DatabaseNews(database, sender=UUID(int=0))) as listening:
        await tell(DatabaseStateStore(database), isolated, snapshot(name="marker"))
        await until(lambda: listening.heard)
        assert listening.names() == [("marker", OPEN, 1)]
    async with Listening(DatabaseNews(database, sender=UUID(int=0))) as listening:
        assert listening.names() == [("marker", OPEN, 1)]


async def test_what_was_heard_from_others_is_not_told_on_nor_taken_up_after_a_restart(database: Database) -> None:
    mine = DatabaseStateStore(database)
    async with Listening(DatabaseNews(database, sender=UUID(int=0))) as listening:
        await tell(mine, replace(snapshot(name="echo"), is_second_hand=True), snapshot(name="marker"))
        await until(lambda: listening.heard)
        assert listening.names() == [("marker", OPEN, 1)]
    async with Listening(DatabaseNews(database, sender=UUID(int=0))) as listening:
        assert listening.names() == [("marker", OPEN, 1)]
    assert [entry.name for entry in (await DatabaseStateStore(database).load()).breakers] == ["marker"]
    await tell(mine, snapshot(CLOSED, name="echo", generation=2))
    assert [entry.name for entry in (await DatabaseStateStore(database).load()).breakers] == ["echo", "marker"]


async def test_more_than_one_payload_carries_is_told_too(database: Database) -> None:
    other = DatabaseStateStore(database)
    entries = [snapshot(name=f"target-{number:04}-{'n' * 50}") for number in range(300)]
    async with Listening(DatabaseNews(database, sender=UUID(int=0))) as listening:
        await tell(other, *entries, snapshot(name="z" * 8000))
        await until(lambda: len(listening.heard) >= 300)
        assert [entry.name for entry in listening.heard] == [entry.name for entry in entries]
        assert other.untold == 1


async def test_strangers_on_the_channel_are_counted_and_nothing_else(database: Database) -> None:
    source = DatabaseNews(database, sender=UUID(int=0))
    async with Listening(source) as listening:
        await sql(database, "SELECT pg_notify('omninode_breakers', 'hello')")
        await until(lambda: source.foreign)
        assert listening.heard == []


async def test_behind_a_pooler_the_table_is_asked(database_url: str) -> None:
    async with Database.open(database_url, pool=PoolConfig(size=2, is_behind_pooler=True)) as pooled:
        other = DatabaseStateStore(pooled)
        source = DatabaseNews(pooled, sender=UUID(int=0))
        assert source.mode == "polling"
        async with Listening(source) as listening:
            await tell(other, snapshot(name="a"))
            await until(lambda: listening.heard)
            assert listening.names()[0] == ("a", OPEN, 1)
            listeners = await sql(pooled, "SELECT count(*) AS n FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
            assert listeners[0]["n"] == 0


async def test_the_state_of_a_process_that_is_still_there_opens_nothing_here(database: Database) -> None:
    other, starting = DatabaseStateStore(database), DatabaseStateStore(database)
    async with Listening(DatabaseNews(database, sender=other.sender)):
        await tell(other, snapshot())
        assert (await starting.load()).breakers == ()
    async with asyncio.timeout(60):
        while not (stored := await starting.load()).breakers:
            await asyncio.sleep(0.02)
    assert stored.breakers[0].state is OPEN


@pytest.mark.fault
async def test_after_a_lost_connection_it_listens_again_and_hears_what_it_missed(database: Database) -> None:
    other = DatabaseStateStore(database)
    registry = BreakerRegistry()
    registry.get("gpt")
    listener = PeerListener(DatabaseNews(database, sender=UUID(int=0)), Peers(registry), seed=1)
    async with listener:
        await until(lambda: listener.statistics().mode == "listening")
        await sql(
            database,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity a JOIN pg_locks USING (pid) WHERE classid = 4712",
        )
        await until(lambda: listener.statistics().mode == "away")
        await tell(other, snapshot())
        await until(lambda: listener.statistics().sensitised == 1)
        assert listener.statistics().mode == "listening"
        assert listener.statistics().failures == 1
        assert registry.get("gpt").state is CLOSED


@pytest.mark.fault
async def test_while_the_server_is_stopped_it_is_away_and_comes_back_with_it(own_server) -> None:
    async with Database.open(own_server.config, pool_size=2) as database:
        registry = BreakerRegistry()
        registry.get("gpt")
        async with PeerListener(DatabaseNews(database, sender=UUID(int=0)), Peers(registry), seed=1) as listener:
            await until(lambda: listener.statistics().mode == "listening")
            await own_server.stop()
            await until(lambda: listener.statistics().failures >= 2)
            assert listener.statistics().mode == "away"
            assert "Unavailable" in listener.statistics().last_error
            await own_server.start()
            await tell(DatabaseStateStore(database), snapshot())
            await until(lambda: listener.statistics().sensitised == 1)


@pytest.mark.fault
async def test_nobody_there_is_an_error_of_ours(database: Database) -> None:
    nowhere = Database(replace(database.config, host="/nowhere"))
    with pytest.raises(DatabaseUnavailableError):
        await DatabaseNews(nowhere, sender=UUID(int=0)).listen(lambda _: None)


async def test_cancelled_anywhere_it_leaves_no_task_and_no_connection(database: Database) -> None:
    before = asyncio.all_tasks()
    heard = 0

    def hear(_: object) -> None:
        nonlocal heard
        heard += 1

    for passed in range(60):
        task = asyncio.ensure_future(DatabaseNews(database, sender=UUID(int=0)).listen(hear))
        for _ in range(passed):
            await asyncio.sleep(0.0005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert 0 < heard < 60, "some were cancelled before they had connected, and some after"
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    others = 1
    async with asyncio.timeout(60):
        while others:
            (row,) = await sql(
                database,
                "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() "
                "AND (query LIKE 'LISTEN%' OR query LIKE '%pg_advisory_lock_shared%' OR query LIKE '%left_s%') "
                "AND pid <> pg_backend_pid()",
            )
            others = row["n"]
