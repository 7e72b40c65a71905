"""The lanes of a pool on a real server: nobody is starved, and a cancelled call costs no connection."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable

import pytest

from omninode.core import current
from omninode.core.clock import SystemClock
from omninode.core.deadline import Deadline
from omninode.core.errors import DatabaseError, DatabaseUnavailableError, DeadlineExceededError, PoolExhaustedError
from omninode.resilience.circuit import CircuitState
from omninode.resilience.snapshot import BreakerSnapshot
from omninode.storage.batch import Operation
from omninode.storage.bulk import BatchRequest, BulkWriter
from omninode.storage.capacity import read_capacity
from omninode.storage.config import ConnectionConfig, PoolConfig
from omninode.storage.database import Database
from omninode.storage.embedded import EmbeddedPostgres
from omninode.storage.lanes import Lane
from omninode.storage.session import Session
from omninode.storage.state import DatabaseStateStore
from omninode.testing.clock import FakeClock

pytestmark = pytest.mark.integration


async def take_all(database: Database, lane: Lane, stack: contextlib.AsyncExitStack) -> None:
    for _ in range(database.statistics().lanes[lane].size):
        await stack.enter_async_context(database.acquire(lane=lane, doing="a dashboard"))


async def test_a_dashboard_that_holds_all_it_may_starves_neither_batches_nor_breaker_state(database_url: str) -> None:
    limits = PoolConfig(size=4, acquire_timeout_s=0.2)
    async with Database.open(database_url, pool=limits) as database, contextlib.AsyncExitStack() as stack:
        await take_all(database, Lane.QUERY, stack)
        with pytest.raises(PoolExhaustedError) as caught:
            await database.fetchval("storage.has_migrations_table")
        assert (caught.value.lane, caught.value.size, caught.value.in_use) == ("query", 2, 2)

        async with database.acquire(lane=Lane.INGEST) as session:
            await session.driver.execute("CREATE TABLE starved (id int PRIMARY KEY)")
        rows = [{"id": number} for number in range(10)]
        request = BatchRequest(data=rows, operation=Operation.INSERT, table="starved", batch_size=100, grows=False)
        assert (await BulkWriter(clock=SystemClock()).write(database, request)).rows == 10
        store = DatabaseStateStore(database)
        await store.save([_snapshot("starved")], [])
        assert [breaker.name for breaker in (await store.load()).breakers] == ["starved"]
        assert await database.ping() > 0

        lanes = database.statistics().lanes
        assert (lanes[Lane.QUERY].timeouts, lanes[Lane.INGEST].timeouts, lanes[Lane.CONTROL].timeouts) == (1, 0, 0)
        assert lanes[Lane.QUERY].wait_p99_ms < 200 <= lanes[Lane.QUERY].oldest_use_s * 1000


@pytest.mark.fault
@pytest.mark.parametrize("how", [Session.transaction, Session.rolled_back])
async def test_a_cancellation_that_finds_the_connection_lost_stays_a_cancellation(
    database: Database, how: Callable[[Session], contextlib.AbstractAsyncContextManager[None]]
) -> None:
    is_inside = asyncio.Event()

    async def work() -> None:
        async with database.acquire() as session, how(session):
            session.driver.terminate()
            is_inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await is_inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert await database.ping() > 0


async def waits_on_a_lost_connection(session: Session) -> None:
    session.driver.terminate()
    await asyncio.Event().wait()


@pytest.mark.fault
async def test_a_time_limit_that_finds_the_connection_lost_stays_one(database: Database) -> None:
    async def work() -> None:
        async with asyncio.timeout(0.05), database.transaction() as session:
            await waits_on_a_lost_connection(session)

    with pytest.raises(TimeoutError):
        await work()


@pytest.mark.fault
async def test_a_time_limit_inside_a_transaction_leaves_a_lost_connection_what_it_is(database: Database) -> None:
    async def work() -> None:
        async with database.transaction() as session, asyncio.timeout(0.05):
            await waits_on_a_lost_connection(session)

    with pytest.raises(DatabaseUnavailableError, match="transaction"):
        await work()


@pytest.mark.fault
async def test_a_connection_lost_after_the_work_is_done_is_no_failure_of_the_work(database: Database) -> None:
    async def work() -> int:
        async with database.acquire() as session:
            found: int = await session.driver.fetchval("SELECT 1")
            session.driver.terminate()
            await asyncio.sleep(0.05)
        return found

    assert await work() == 1
    assert await database.ping() > 0


def _snapshot(name: str) -> BreakerSnapshot:
    return BreakerSnapshot(
        name=name, state=CircuitState.CLOSED, failures=0, successes=1, generation=1,
        opened_at=None, reopen_at=None, reason="", updated_at=SystemClock().now(),
    )  # fmt: skip


async def test_the_scopes_deadline_ends_a_wait_for_a_connection(database_url: str) -> None:
    async with Database.open(database_url, pool=PoolConfig(size=3, acquire_timeout_s=60)) as database:
        async with database.acquire(doing="a slow report"):
            with (
                current.entered(deadline=Deadline.after(0.05)),
                pytest.raises(DeadlineExceededError, match="a slow report"),
            ):
                await database.fetchval("storage.has_migrations_table")
        assert await database.fetchval("storage.has_migrations_table")


async def _statement(database: Database) -> None:
    await database.fetchval("storage.has_migrations_table")


async def _transaction(database: Database) -> None:
    async with database.transaction() as session:
        await session.fetchval("storage.has_migrations_table")


async def _waiting(database: Database) -> None:
    async def work() -> None:
        await database.fetchval("storage.has_migrations_table")

    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(work())


@pytest.mark.parametrize("is_new", [True, False], ids=["a new connection", "a kept connection"])
@pytest.mark.parametrize("work", [_statement, _transaction, _waiting])
async def test_cancellation_at_any_await_gives_the_place_back_exactly_once(
    database_url: str, work: Callable[[Database], Awaitable[None]], is_new: bool
) -> None:
    """Cancel after 0, 1, 2, … turns of the loop, until the work ends before it is cancelled."""
    limits = PoolConfig(size=3, idle_check_s=0.0, acquire_timeout_s=5.0)
    async with Database.open(database_url, pool=limits) as kept:
        turns = ended = 0
        while ended < 3:
            database = Database.open(database_url, pool=limits) if is_new else kept
            await database.start()
            task = asyncio.ensure_future(work(database))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            ended += not task.cancelled()
            statistics = database.statistics()
            assert (statistics.in_use, statistics.waiting) == (0, 0), turns
            async with contextlib.AsyncExitStack() as stack:
                for lane in Lane:  # all three places, each with a connection that works
                    session = await stack.enter_async_context(database.acquire(lane=lane))
                    assert await session.fetchval("storage.ping") == 1
                assert database.statistics().in_use == 3
            if is_new:
                await database.close()
            turns += 1 if turns < 20 else turns // 4


async def test_many_callers_hardly_knock_at_a_server_that_is_away() -> None:
    knocks = 0

    async def turn_away(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal knocks
        knocks += 1
        writer.close()

    async def refused() -> DatabaseUnavailableError:
        with pytest.raises(DatabaseUnavailableError) as caught:
            await database.fetchval("storage.has_migrations_table")
        return caught.value

    clock = FakeClock()  # stands still, so no pause ends by itself
    server = await asyncio.start_server(turn_away, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        config = ConnectionConfig(host=host, port=port, user="u", database="d", ssl_mode="disable")
        database = Database.open(config, pool_size=10, clock=clock)
        await database.start()
        refusals = await asyncio.gather(*[refused() for _ in range(200)])
        assert knocks == 7  # as many as queries have places; all others were told to wait
        assert sum(refusal.retry_after_s is not None for refusal in refusals) == 193
        for _ in range(3):
            clock.advance(10)
            await asyncio.gather(*[refused() for _ in range(200)])
        assert knocks == 7 + 3
        assert (database.statistics().failed_connects, database.statistics().in_use) == (10, 0)
        await database.close()


async def test_pools_are_added_up_against_what_the_server_allows(database_url: str, database: Database) -> None:
    before = await read_capacity(database)
    assert before is not None
    async with Database.open(database_url, pool_size=90), Database.open(database_url, pool_size=33):
        both = await read_capacity(database)
        assert both is not None
        assert sorted([*before.pools, 33, 90]) == sorted(both.pools)
        assert both.missing == both.wanted - (both.max_connections - both.reserved - 10) > 0


@pytest.mark.fault
async def test_a_server_killed_under_load_gives_only_errors_worth_repeating(own_server: EmbeddedPostgres) -> None:
    """Whatever the driver raises in each of its states, it comes out as retryable, and costs no connection."""
    errors: list[DatabaseError] = []
    done = 0
    end = asyncio.Event()

    async def work(database: Database) -> None:
        nonlocal done
        while not end.is_set():
            try:
                async with database.transaction() as session:
                    await session.fetch("storage.applied_versions")
                    await session.driver.execute("SELECT pg_sleep(0.001)")
                done += 1
            except DatabaseError as error:
                errors.append(error)
                await asyncio.sleep(0.01)

    async def go_on_for(more: int) -> None:
        until = done + more
        async with asyncio.timeout(30):
            while done < until:
                await asyncio.sleep(0.01)

    async with Database.open(own_server.config, pool_size=10) as database, asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(work(database))
        await go_on_for(100)
        pid = (await own_server.status()).pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(30):
            while len(errors) < 20:
                await asyncio.sleep(0.01)
        await own_server.start()
        await go_on_for(100)
        end.set()
    assert not [error for error in errors if not error.retryable]
    assert (database.statistics().in_use, database.statistics().waiting) == (0, 0)
