"""The pool on a real server."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from omninode.core.errors import (
    ConfigurationError,
    DatabaseError,
    DatabaseUnavailableError,
    DefectError,
    PoolExhaustedError,
)
from omninode.storage.config import ConnectionConfig, PoolConfig
from omninode.storage.connection import connect
from omninode.storage.database import Database
from omninode.storage.lanes import Lane

pytestmark = pytest.mark.integration


async def test_named_statement_returns_its_value(database: Database) -> None:
    assert await database.fetchval("storage.ping") == 1


async def test_unknown_statement_names_what_the_file_holds(database: Database) -> None:
    with pytest.raises(DefectError, match=r"no statement 'pong'; it holds .*ping"):
        await database.fetch("storage.pong")


async def test_exhausted_pool_names_size_use_and_oldest_holder(database_url: str) -> None:
    async with Database.open(database_url, pool=PoolConfig(size=1, acquire_timeout_s=0.05)) as database:
        async with database.acquire(doing="a slow report"):
            with pytest.raises(PoolExhaustedError) as caught:
                await database.ping()
        assert (caught.value.size, caught.value.in_use) == (1, 1)
        assert caught.value.oldest_holder is not None
        assert caught.value.oldest_holder.startswith("a slow report")
        assert caught.value.retryable
        assert await database.ping() > 0
        assert database.statistics().timeouts == 1


async def test_waiters_get_connections_in_the_order_they_came(database_url: str) -> None:
    order: list[int] = []
    async with Database.open(database_url, pool_size=1) as database:

        async def work(number: int) -> None:
            async with database.acquire():
                order.append(number)
                await asyncio.sleep(0)

        async with database.acquire():
            tasks = [asyncio.create_task(work(number)) for number in range(6)]
            await asyncio.sleep(0.01)
            assert database.statistics().waiting == 6
        await asyncio.wait(tasks)
    assert order == list(range(6))


async def test_cancelled_waiter_and_cancelled_user_leave_the_pool_whole(database_url: str) -> None:
    async with Database.open(database_url, pool_size=1) as database:

        async def hold() -> None:
            async with database.acquire():
                await asyncio.sleep(60)

        tasks = [asyncio.create_task(hold()) for _ in range(3)]
        await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert await database.ping() > 0
        assert (database.statistics().in_use, database.statistics().waiting) == (0, 0)


async def test_transaction_rolls_back_when_its_body_raises(database: Database) -> None:
    async def create_and_fail() -> None:
        async with database.transaction() as session:
            await session.driver.execute("CREATE TABLE vanishing (id int)")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await create_and_fail()
    async with database.acquire() as session:
        assert await session.driver.fetchval("SELECT to_regclass('vanishing')") is None


async def test_json_columns_hold_python_values(database: Database) -> None:
    async with database.acquire() as session:
        row = await session.driver.fetchrow("SELECT $1::jsonb AS b, $2::json AS j", {"a": [1, None]}, ["x"])
    assert row is not None
    assert (row["b"], row["j"]) == ({"a": [1, None]}, ["x"])


@pytest.mark.fault
async def test_killed_backend_is_replaced_by_the_next_statement(database: Database) -> None:
    async with database.acquire() as session:
        victim = await session.driver.fetchval("SELECT pg_backend_pid()")
    async with Database.open(database.config, pool_size=1) as other, other.acquire() as session:
        await session.driver.execute("SELECT pg_terminate_backend($1, 5000)", victim)
    await asyncio.sleep(0.05)
    assert await database.fetchval("storage.ping") == 1


@pytest.mark.fault
async def test_connection_lost_in_a_statement_is_unavailable_and_retryable(database: Database) -> None:
    with pytest.raises(DatabaseUnavailableError) as caught:
        async with database.acquire() as session:
            await session.driver.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    assert caught.value.retryable
    assert await database.fetchval("storage.ping") == 1


@pytest.mark.fault
async def test_no_server_is_unavailable_and_says_where() -> None:
    nowhere = ConnectionConfig(host="127.0.0.1", port=1, user="u", password="geheim", database="d")
    with pytest.raises(DatabaseUnavailableError, match=r"127\.0\.0\.1:1/d") as caught:
        async with Database.open(nowhere):
            pass
    assert "geheim" not in str(caught.value)


@pytest.fixture
async def locked(database: Database) -> AsyncIterator[ConnectionConfig]:
    """A user whom the server asks for a password."""
    async with database.acquire() as session:
        await session.driver.execute("CREATE ROLE locked LOGIN PASSWORD 'right'")
        file = Path(await session.driver.fetchval("SHOW hba_file"))
        before = file.read_bytes()
        file.write_bytes(b"local all locked scram-sha-256\n" + before)
        await session.driver.execute("SELECT pg_reload_conf()")
    config = replace(database.config, user="locked", password="right")
    try:
        async with asyncio.timeout(20):
            while await _lets_in(replace(config, password="wrong")):  # until the new rules are read
                await asyncio.sleep(0.02)
        yield config
    finally:
        file.write_bytes(before)
        async with database.acquire() as session:
            await session.driver.execute("SELECT pg_reload_conf()")
            await session.driver.execute("DROP ROLE locked")


async def _lets_in(config: ConnectionConfig) -> bool:
    try:
        connection = await connect(config)
    except ConfigurationError:
        return False
    await connection.close()
    return True


async def _refusals(config: ConnectionConfig) -> list[str]:
    """What the pool says, and what a connection outside of it says, as migrations use one."""
    found = []
    with pytest.raises(ConfigurationError) as caught:
        async with Database.open(config):
            pass
    found.append(caught.value.message)
    with pytest.raises(ConfigurationError) as caught:
        await connect(config)
    found.append(caught.value.message)
    return found


@pytest.mark.fault
async def test_a_login_the_server_refuses_names_the_setting(locked: ConnectionConfig) -> None:
    for message in await _refusals(replace(locked, database="nowhere")):
        assert "create the database 'nowhere', or set POSTGRES_DB" in message
    for message in await _refusals(replace(locked, user="nobody")):
        assert "set POSTGRES_USER" in message
    for password in ("wrong", None):
        for message in await _refusals(replace(locked, password=password)):
            assert "set POSTGRES_PASSWORD to the password of 'locked'" in message
            assert "wrong" not in message
    async with Database.open(locked) as database:
        assert await database.ping() > 0


@pytest.mark.fault
async def test_a_server_that_is_full_is_unavailable_not_misconfigured(
    locked: ConnectionConfig, database: Database
) -> None:
    async with database.acquire() as session:
        await session.driver.execute("ALTER ROLE locked CONNECTION LIMIT 0")
    with pytest.raises(DatabaseUnavailableError):
        await connect(locked)


async def test_refused_statement_carries_its_sqlstate(database: Database) -> None:
    with pytest.raises(DatabaseError) as caught:
        async with database.acquire() as session:
            await session.driver.execute("SELECT 1/0")
    assert caught.value.sqlstate == "22012"
    assert not caught.value.retryable


async def test_an_argument_of_the_wrong_type_is_no_lost_connection(database: Database) -> None:
    with pytest.raises(DatabaseError, match=r"argument \$1 \(.*integer") as caught:
        async with database.acquire() as session:
            await session.driver.fetchval("SELECT $1::int", "geheim")
    assert not isinstance(caught.value, DatabaseUnavailableError)
    assert not caught.value.retryable
    assert "geheim" not in str(caught.value)


async def test_statement_timeout_is_kept_by_the_server(database_url: str) -> None:
    async with Database.open(database_url, pool=PoolConfig(size=1, statement_timeout_s=0.05)) as database:
        with pytest.raises(DatabaseError) as caught:
            async with database.acquire() as session:
                await session.driver.execute("SELECT pg_sleep(30)")
    assert caught.value.sqlstate == "57014"


async def test_connection_idle_for_long_is_asked_before_use(database_url: str) -> None:
    async with Database.open(database_url, pool=PoolConfig(size=1, idle_check_s=0.0)) as database:
        async with database.acquire() as session:
            first = await session.driver.fetchval("SELECT pg_backend_pid()")
        async with database.acquire() as session:
            assert await session.driver.fetchval("SELECT pg_backend_pid()") == first


@pytest.mark.fault
async def test_calls_cancelled_while_an_idle_connection_is_asked_cost_no_connection(database_url: str) -> None:
    limits = PoolConfig(size=2, idle_check_s=0.0, connect_timeout_s=2.0)
    async with Database.open(database_url, pool=limits) as database:
        for _ in range(4):
            async with database.acquire() as session:
                backend = await session.driver.fetchval("SELECT pg_backend_pid()")
            os.kill(backend, signal.SIGSTOP)
            try:
                call = asyncio.create_task(database.ping())
                while not database.statistics().in_use:
                    await asyncio.sleep(0)
                await asyncio.sleep(0.05)
                call.cancel()
                await asyncio.wait([call])
                assert call.cancelled()
            finally:
                os.kill(backend, signal.SIGCONT)
        assert database.statistics().discarded == 4
        async with database.acquire(lane=Lane.CONTROL), database.acquire() as session:
            assert await session.fetchval("storage.ping") == 1


async def test_closing_twice_is_harmless(database_url: str) -> None:
    database = Database.open(database_url)
    async with database:
        pass
    await database.close()
    with pytest.raises(DefectError, match="not open"):
        await database.ping()
