"""Breaker and retry state in Postgres: across restarts, between processes, and when the server is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from omninode.core.clock import SystemClock
from omninode.resilience.circuit import CircuitState
from omninode.resilience.registry import BreakerRegistry
from omninode.resilience.snapshot import BreakerSnapshot, RetrySnapshot, StateStore, StoredState
from omninode.resilience.state import StateKeeper
from omninode.storage.connection import connect
from omninode.storage.database import Database
from omninode.storage.state import DatabaseStateStore

pytestmark = pytest.mark.integration

OPEN, CLOSED = CircuitState.OPEN, CircuitState.CLOSED


class Skewed(SystemClock):
    """The clock of a host that is ahead by so many seconds."""

    def __init__(self, ahead_s: float) -> None:
        self.ahead = timedelta(seconds=ahead_s)

    def now(self):
        return super().now() + self.ahead


def open_for(left_s: float | None, *, name: str = "gpt", clock: SystemClock | None = None) -> BreakerSnapshot:
    now = (clock or SystemClock()).now()
    return BreakerSnapshot(
        name=name, state=OPEN, failures=5, successes=1, generation=3, opened_at=now - timedelta(seconds=7),
        reopen_at=None if left_s is None else now + timedelta(seconds=left_s), reason="5 failures", updated_at=now,
    )  # fmt: skip


def closed(name: str = "gpt") -> BreakerSnapshot:
    return replace(open_for(None, name=name), state=CLOSED, opened_at=None, reason="", generation=4)


@pytest.fixture(autouse=True)
async def empty(database: Database) -> None:
    connection = await connect(database.config)
    try:
        await connection.execute("TRUNCATE circuit_breaker_state, retry_manager_state")
    finally:
        await connection.close(timeout=5)


def close_to(moment, seconds: float) -> bool:
    """Within the time a slow machine takes for the statements between."""
    return abs((moment - SystemClock().now()).total_seconds() - seconds) < 5


async def test_what_is_saved_is_loaded_and_the_latest_counts(database: Database) -> None:
    store: StateStore = DatabaseStateStore(database)
    assert await store.load() == StoredState()
    retry = RetrySnapshot(
        name="r", calls=9, attempts=12, retries=3, recovered=2, exhausted=1,
        budget_tokens=7.5, last_error=None, updated_at=SystemClock().now(),
    )  # fmt: skip
    await store.save([open_for(60.0)], [retry])
    (kept,) = (await store.load()).breakers
    assert (kept.name, kept.state, kept.failures, kept.successes, kept.generation) == ("gpt", OPEN, 5, 1, 3)
    assert close_to(kept.opened_at, -7)
    assert close_to(kept.reopen_at, 60)
    await store.save([replace(closed(), failures=2**40)], [])
    stored = await store.load()
    (kept,), (counted,) = stored.breakers, stored.retries
    assert (kept.state, kept.opened_at, kept.reopen_at, kept.failures) == (CLOSED, None, None, 2**31 - 1)
    assert replace(counted, updated_at=retry.updated_at) == retry
    assert close_to(counted.updated_at, 0)


@pytest.mark.parametrize(("writer_s", "reader_s"), [(7200, 0), (0, 7200), (-86400, 86400)])
async def test_hosts_whose_clocks_disagree_agree_on_what_is_left_of_a_break(database, writer_s, reader_s) -> None:
    writer, reader = Skewed(writer_s), Skewed(reader_s)
    await DatabaseStateStore(database, clock=writer).save([open_for(60.0, clock=writer)], [])
    (kept,) = (await DatabaseStateStore(database, clock=reader).load()).breakers
    assert close_to(kept.reopen_at - reader.ahead, 60)
    assert close_to(kept.updated_at - reader.ahead, 0)


async def kept_states(database: Database) -> dict[str, CircuitState]:
    return {entry.name: entry.state for entry in (await DatabaseStateStore(database).load()).breakers}


async def test_a_break_of_another_process_is_not_hidden_by_those_that_are_closed(database: Database) -> None:
    mine, other = DatabaseStateStore(database), DatabaseStateStore(database)
    await mine.save([open_for(60.0, name="long"), open_for(None, name="isolated"), open_for(-0.001, name="over")], [])
    await other.save([closed("isolated"), closed("long"), closed("over")], [])
    assert await kept_states(database) == {"isolated": OPEN, "long": OPEN, "over": CLOSED}
    await other.save([replace(open_for(20.0, name="long"), is_second_hand=True)], [])
    assert await kept_states(database) == {"isolated": OPEN, "long": OPEN, "over": CLOSED}
    await other.save([replace(open_for(20.0, name="long"), failures=9)], [])
    await other.save([closed("long")], [])
    await mine.save([closed("isolated")], [])
    assert await kept_states(database) == {"isolated": CLOSED, "long": CLOSED, "over": CLOSED}


async def test_after_half_a_minute_others_may_say_that_it_is_closed(database: Database) -> None:
    await DatabaseStateStore(database).save([open_for(600.0), open_for(None, name="isolated")], [])
    connection = await connect(database.config)
    try:
        await connection.execute("UPDATE circuit_breaker_state SET updated_at = now() - interval '31 s'")
    finally:
        await connection.close(timeout=5)
    await DatabaseStateStore(database).save([closed(), closed("isolated")], [])
    assert await kept_states(database) == {"gpt": CLOSED, "isolated": CLOSED}


async def test_two_processes_that_write_the_same_names_all_the_time_never_block_each_other(database_url: str) -> None:
    names = [f"target-{number:03}" for number in range(200)]
    retries = [
        RetrySnapshot(
            name=name, calls=1, attempts=1, retries=0, recovered=0, exhausted=0,
            budget_tokens=None, last_error=None, updated_at=SystemClock().now(),
        )
        for name in names
    ]  # fmt: skip

    async def write(order: Sequence[str], rounds: int) -> int:
        async with Database.open(database_url, pool_size=2) as own:
            store = DatabaseStateStore(own)
            for number in range(rounds):
                breakers = [replace(closed(name), generation=number) for name in order]
                by_name = {entry.name: entry for entry in retries}
                await store.save(breakers, [by_name[name] for name in order], moved=order[number::10])
        return rounds

    written = await asyncio.gather(write(names, 15), write(names[::-1], 15), write(names[100:] + names[:100], 15))
    assert written == [15, 15, 15]


@pytest.mark.fault
async def test_a_server_that_stops_changes_nothing_but_the_sharing(own_server) -> None:
    async with Database.open(own_server.config, pool_size=2) as database:
        registry = BreakerRegistry()
        keeper = StateKeeper(DatabaseStateStore(database), registry=registry, interval_s=0.05)
        await keeper.open()
        breaker = registry.get("gpt")
        assert await breaker.call(asyncio.sleep, 0, "served") == "served"
        await until(lambda: keeper.statistics().written >= 1)
        await own_server.stop()
        breaker.open()
        await until(lambda: keeper.statistics().failures >= 2)
        assert breaker.state is OPEN
        breaker.close()
        assert await breaker.call(asyncio.sleep, 0, "served") == "served"
        breaker.open()
        written = keeper.statistics().written
        await own_server.start()
        await until(lambda: keeper.statistics().written > written)
        assert await kept_states(database) == {"gpt": OPEN}
        await keeper.close()


async def until(is_so, *, within_s: float = 60.0) -> None:
    """Wait for another task to come so far; the limit is for when it never does."""
    async with asyncio.timeout(within_s):
        while not is_so():
            await asyncio.sleep(0.02)
