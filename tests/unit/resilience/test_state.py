"""State that outlives the process, beside the calls."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from omninode.core import current
from omninode.core.deadline import Deadline
from omninode.core.errors import DatabaseUnavailableError, InvalidArgumentError
from omninode.core.events import ErrorOccurred
from omninode.resilience import BreakerRegistry, CircuitState, RetryManager, StateKeeper, StoredState

pytestmark = pytest.mark.unit


class Memory:
    """A store that keeps what it is given, unless it is dead."""

    def __init__(self):
        self.breakers, self.retries = {}, {}
        self.saves, self.moved = [], []
        self.is_dead = False

    async def load(self):
        await asyncio.sleep(0)
        self.check()
        return StoredState(breakers=tuple(self.breakers.values()), retries=tuple(self.retries.values()))

    async def save(self, breakers, retries, *, moved=()):
        self.check()
        self.moved.append(sorted(moved))
        self.saves.append([snapshot.name for snapshot in (*breakers, *retries)])
        self.breakers |= {snapshot.name: snapshot for snapshot in breakers}
        self.retries |= {snapshot.name: snapshot for snapshot in retries}

    def check(self):
        if self.is_dead:
            raise DatabaseUnavailableError("the database is gone")


async def turn(clock, seconds=1.0):
    clock.advance(seconds)
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_changed_is_written_sorted_and_at_most_once_a_second(clock):
    store, registry, manager = Memory(), BreakerRegistry(clock=clock), RetryManager(clock=clock, name="r")
    async with StateKeeper(store, registry=registry, clock=clock) as keeper:
        keeper.watch(manager)
        for name in ("b", "a"):
            registry.get(name)
        await turn(clock, 0.5)
        assert store.saves == []
        await turn(clock, 0.5)
        await turn(clock)
        assert store.saves == [["a", "b", "r"]]
        for _ in range(100):
            registry.get("b").open()
        await turn(clock)
        assert store.saves[1:] == [["b"]]


async def test_only_changes_of_state_are_news_and_a_failed_write_loses_none(clock):
    store, registry = Memory(), BreakerRegistry(clock=clock)
    async with StateKeeper(store, registry=registry, clock=clock):
        await turn(clock, 0.0)
        a, b = registry.get("a"), registry.get("b")
        await turn(clock)
        a.open()
        await b.call(asyncio.sleep, 0)
        store.is_dead = True
        await turn(clock)
        store.is_dead = False
        await turn(clock, 2.0)
        await b.call(asyncio.sleep, 0)
        await turn(clock)
        clock.advance(30.0)
        a.admit()
        await turn(clock)
        a.close()
        b.open()
        b.close()
        await turn(clock)
        assert store.moved == [[], ["a"], [], ["a"], ["a"]]
        assert store.saves == [["a", "b"], ["a", "b"], ["b"], ["a"], ["a", "b"]]


@pytest.mark.fault
async def test_no_call_waits_for_a_write_that_hangs(clock):
    class Hanging(Memory):
        writing = 0

        async def save(self, breakers, retries, *, moved=()):
            self.writing += 1
            await asyncio.Event().wait()

    store, registry = Hanging(), BreakerRegistry(clock=clock)
    keeper = StateKeeper(store, registry=registry, clock=clock, timeout_s=0.05)
    await keeper.open()
    breaker = registry.get("b")
    await turn(clock, 0.0)
    await turn(clock)
    assert store.writing == 1
    for _ in range(100):
        assert await breaker.call(asyncio.sleep, 0, "served") == "served"
    breaker.open()
    assert breaker.state is CircuitState.OPEN
    assert store.writing == 1, "all of that happened during one write"
    await keeper.close()


@pytest.mark.parametrize("where", ["load", "save"])
async def test_cancelled_while_the_store_works_it_leaves_no_task(clock, where):
    class Slow(Memory):
        async def load(self):
            await (asyncio.Event().wait() if where == "load" else asyncio.sleep(0))
            return await super().load()

        async def save(self, breakers, retries, *, moved=()):
            await asyncio.Event().wait()

    before = asyncio.all_tasks()
    registry = BreakerRegistry(clock=clock)
    keeper = StateKeeper(Slow(), registry=registry, clock=clock)

    async def use():
        async with keeper:
            registry.get("b")
            await asyncio.sleep(0)

    using = asyncio.ensure_future(use())
    for _ in range(5):
        await asyncio.sleep(0)
    using.cancel()
    with pytest.raises(asyncio.CancelledError):
        await using
    assert asyncio.all_tasks() == before


async def test_a_new_process_takes_up_where_the_last_one_ended(clock):
    store = Memory()
    registry, manager = BreakerRegistry(clock=clock), RetryManager(clock=clock, name="r")
    async with StateKeeper(store, registry=registry, clock=clock) as keeper:
        keeper.watch(manager)
        registry.get("b").open()
        await manager.execute(asyncio.sleep, 0)
    again, other = BreakerRegistry(clock=clock), RetryManager(clock=clock, name="r")
    async with StateKeeper(store, registry=again, clock=clock) as keeper:
        keeper.watch(other)
        assert again.get("b").state is CircuitState.OPEN
        assert other.statistics().calls == 1
        assert keeper.statistics().restored == 2


async def test_what_is_old_says_nothing_about_now(clock):
    store, before = Memory(), BreakerRegistry(clock=clock)
    before.get("b").open()
    store.breakers["b"] = replace(before.snapshots()[0], updated_at=clock.now() - timedelta(hours=2))
    registry = BreakerRegistry(clock=clock)
    async with StateKeeper(store, registry=registry, clock=clock):
        assert registry.get("b").state is CircuitState.CLOSED


@pytest.mark.fault
async def test_a_dead_store_is_counted_and_told_once_and_nothing_else(clock, sink):
    store, registry = Memory(), BreakerRegistry(clock=clock)
    store.is_dead = True
    keeper = StateKeeper(store, registry=registry, clock=clock, sink=sink)
    await keeper.open()
    assert await registry.get("b").call(asyncio.sleep, 0, "served") == "served"
    for _ in range(10):
        await turn(clock)
    failures = keeper.statistics().failures
    assert 2 < failures < 10
    assert len(sink.of(ErrorOccurred)) == 1
    store.is_dead = False
    await turn(clock, 60.0)
    assert store.saves == [["b"]]
    await keeper.close()
    assert keeper.statistics().last_error == "DatabaseUnavailableError: the database is gone"


@pytest.mark.fault
async def test_a_store_that_hangs_holds_neither_start_nor_end(clock):
    class Hanging(Memory):
        async def load(self):
            await asyncio.sleep(60)

        async def save(self, breakers, retries, *, moved=()):
            await asyncio.sleep(60)

    registry = BreakerRegistry(clock=clock)
    keeper = StateKeeper(Hanging(), registry=registry, clock=clock, timeout_s=0.01)
    await keeper.open()
    registry.get("b")
    await keeper.close()
    await keeper.close()
    assert keeper.statistics().failures == 2


async def test_the_writer_does_not_inherit_the_deadline_of_who_opened_it(clock):
    store, registry = Memory(), BreakerRegistry(clock=clock)
    keeper = StateKeeper(store, registry=registry, clock=clock)
    deadline = Deadline.after(5.0, clock=clock)
    with current.entered(deadline=deadline):
        await keeper.open()
    await turn(clock, 0.0)
    registry.get("b")
    await turn(clock, 10.0)
    assert store.saves == [["b"]]
    await keeper.close()


async def test_two_managers_of_one_name_are_refused(clock):
    keeper = StateKeeper(Memory(), registry=BreakerRegistry(clock=clock), clock=clock)
    keeper.watch(RetryManager(name="r"))
    with pytest.raises(InvalidArgumentError, match="'r'"):
        keeper.watch(RetryManager(name="r"))


@pytest.mark.parametrize("turns", [0, 1])
async def test_one_that_was_closed_does_not_open_again_not_even_half_way(clock, turns):
    before = asyncio.all_tasks()
    keeper = StateKeeper(Memory(), registry=BreakerRegistry(clock=clock), clock=clock)
    opening = asyncio.ensure_future(keeper.open())
    for _ in range(turns):
        await asyncio.sleep(0)
    await keeper.close()
    await opening
    await keeper.open()
    assert asyncio.all_tasks() == before
