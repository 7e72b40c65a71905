"""Behind PgBouncer, which lends another connection for every transaction."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from omninode.core.clock import SystemClock
from omninode.core.errors import DatabaseError, MigrationError
from omninode.core.ids import uuid7
from omninode.resilience.circuit import CircuitState
from omninode.resilience.snapshot import BreakerSnapshot
from omninode.storage.batch import Operation
from omninode.storage.bulk import BatchRequest, BulkWriter
from omninode.storage.config import ConnectionConfig, PoolConfig
from omninode.storage.database import Database
from omninode.storage.embedded import EmbeddedPostgres
from omninode.storage.flusher import SpoolFlusher
from omninode.storage.migrate import Migration, migrate, packaged_migrations
from omninode.storage.news import DatabaseNews
from omninode.storage.optimizer import PerformanceOptimizer
from omninode.storage.spool import Spool
from omninode.storage.state import DatabaseStateStore

pytestmark = pytest.mark.integration

_SHARED = PoolConfig(size=10, is_behind_pooler=True)
# Round robin, so that two statements in a row hardly ever meet the same server connection.
_SETTINGS = """
[databases]
* = host={host} port=5432 user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
server_round_robin = 1
{extra}
"""


async def started(program: str, folder: Path, config: ConnectionConfig, *, owner: tuple[int, int] | None, extra: str):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = folder / f"pgbouncer-{port}.ini"
    settings.write_text(_SETTINGS.format(host=config.host, user=config.user, port=port, extra=extra), encoding="utf-8")
    # It refuses to run as root, and the server's socket is open to the server's user alone.
    who = {} if owner is None else {"user": owner[0], "group": owner[1], "extra_groups": []}
    with (folder / f"log-{port}").open("wb") as log:
        process = subprocess.Popen([program, str(settings)], stdout=log, stderr=log, cwd="/", **who)
    for _ in range(200):
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            break
        await asyncio.sleep(0.02)
    else:
        process.kill()
        pytest.fail(f"PgBouncer does not listen: {(folder / f'log-{port}').read_text(encoding='utf-8')}")
    through = ConnectionConfig(
        host="127.0.0.1", port=port, user=config.user, database=config.database, ssl_mode="disable"
    )
    return process, through


@pytest.fixture
async def pooler(embedded: EmbeddedPostgres, database: Database) -> AsyncIterator:
    """A function that starts a PgBouncer before the module's database; how to connect to it."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("there is no PgBouncer here")
    folder = Path(tempfile.mkdtemp(prefix="omn-", dir="/tmp"))
    folder.chmod(0o755)
    entry = Path(database.config.host).stat()
    owner = (entry.st_uid, entry.st_gid) if os.geteuid() == 0 else None
    processes: list[subprocess.Popen] = []

    async def start(extra: str = "") -> ConnectionConfig:
        process, config = await started(program, folder, database.config, owner=owner, extra=extra)
        processes.append(process)
        return config

    yield start
    for process in processes:
        process.kill()
        process.wait(10)
    shutil.rmtree(folder, ignore_errors=True)


def metric(name: str) -> dict[str, object]:
    return {"id": uuid7(), "ts": SystemClock().now(), "metric": name, "value": 1.0}


async def use_everything(database: Database, name: str) -> None:
    """Statements in and out of transactions, every kind of batch, bad rows too."""
    assert await database.fetchval("storage.ping") == 1
    assert await database.fetchval("storage.has_migrations_table")
    async with database.transaction() as session:
        assert len(await session.fetch("storage.applied_versions")) > 0
        assert await session.fetchval("storage.ping") == 1
    writer = BulkWriter(clock=SystemClock())
    rows = [{"id": number, "owner": name, "value": {"n": number}} for number in range(1500)]
    for operation in (Operation.INSERT, Operation.UPDATE, Operation.UPSERT, Operation.DELETE):
        request = BatchRequest(
            data=rows, operation=operation, table=f"shared_{name}", keys=("id",), batch_size=1200, grows=False
        )
        assert (await writer.write(database, request)).rows == 1500
    bad = [*rows[:8], {"id": None, "owner": name, "value": {}}]
    request = BatchRequest(
        data=bad, operation=Operation.INSERT, table=f"shared_{name}", batch_size=4, grows=False, isolate=True
    )
    result = await writer.write(database, request)
    assert (result.rows, result.failed) == (8, 1)


async def make_tables(database: Database, names: list[str]) -> None:
    async with database.acquire() as session:
        for name in names:
            await session.driver.execute(
                f"DROP TABLE IF EXISTS shared_{name}; "
                f"CREATE TABLE shared_{name} (id int PRIMARY KEY, owner text, value jsonb)"
            )


async def open_several(database: Database) -> None:
    """Make the proxy open all the server connections it may, to swap them from now on."""

    async def hold() -> None:
        async with database.transaction() as session:
            await session.driver.execute("SELECT pg_sleep(0.1)")

    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(hold())


async def what_sessions_keep(database: Database) -> list[tuple[object, ...]]:
    """Of each server connection behind the proxy: prepared statements, advisory locks, temporary tables, settings."""
    found = {}
    for _ in range(24):
        async with database.transaction() as session:
            driver = session.driver
            kept = await driver.fetchrow(
                "SELECT pg_backend_pid() AS pid,"
                " (SELECT count(*) FROM pg_prepared_statements WHERE name <> '') AS prepared,"
                " (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory') AS locks,"
                " (SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema()) AS temporary,"
                " current_setting('plan_cache_mode') AS planning"
            )
            found[kept["pid"]] = tuple(kept.values())[1:]
    assert len(found) > 1, "the proxy lent the same connection every time, so this shows nothing"
    return list(found.values())


async def test_all_of_storage_works_and_leaves_nothing_in_the_shared_sessions(pooler, database: Database) -> None:
    names = [f"t{number}" for number in range(6)]
    await make_tables(database, names)
    async with Database.open(await pooler(), pool=_SHARED) as shared:
        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(use_everything(shared, name))
        assert set(await what_sessions_keep(shared)) == {(0, 0, 0, "auto")}
        async with shared.acquire() as session:  # outside of a transaction: the server's own, not ours
            assert await session.driver.fetchval("SHOW lock_timeout") == "0"


async def test_transactions_have_the_limits_that_sessions_cannot_keep(pooler) -> None:
    limits = PoolConfig(size=3, is_behind_pooler=True, statement_timeout_s=0.1, lock_timeout_s=7)
    async with Database.open(await pooler(), pool=limits) as shared:
        with pytest.raises(DatabaseError) as caught:
            async with shared.transaction() as session:
                await session.driver.execute("SELECT pg_sleep(30)")
        assert caught.value.sqlstate == "57014"
        async with shared.transaction() as session, session.transaction():  # a savepoint keeps them
            assert await session.driver.fetchval("SHOW lock_timeout") == "7s"


async def test_queries_are_explained_and_indexes_made_through_the_proxy(pooler, database: Database) -> None:
    async with database.acquire() as session:
        await session.driver.execute("CREATE TABLE shared_lookup (id int PRIMARY KEY, run_id uuid)")
    async with Database.open(await pooler(), pool=_SHARED) as shared:
        await open_several(shared)
        await shared.fetch("storage.applied_versions")
        report = await PerformanceOptimizer(shared).optimize_queries()
        assert {advice.statement for advice in report.queries if advice.plan_cost} >= {"storage.applied_versions"}
        made = await PerformanceOptimizer(shared).create_missing_indexes()
        assert {change.table for change in made if change.created} >= {"shared_lookup"}
        assert set(await what_sessions_keep(shared)) == {(0, 0, 0, "auto")}


async def test_rows_of_the_spool_arrive_once(pooler, database: Database, tmp_path: Path) -> None:
    async with Database.open(await pooler(), pool=_SHARED) as shared:
        spool = Spool(tmp_path / "spool")
        written: list[UUID] = []
        async with SpoolFlusher(spool, shared):
            for _ in range(2500):
                row = metric("pooled")
                written.append(row["id"])
                spool.put("performance_metrics", row)
    async with database.acquire() as session:
        rows = await session.driver.fetch("SELECT id FROM performance_metrics WHERE metric = 'pooled'")
    assert sorted(row["id"] for row in rows) == sorted(written)


async def test_breakers_of_other_processes_are_heard_of_through_the_proxy(pooler, database: Database) -> None:
    now = SystemClock().now()
    opened = BreakerSnapshot(
        name="gpt", state=CircuitState.OPEN, failures=5, successes=0, generation=1, opened_at=now,
        reopen_at=now + timedelta(seconds=20), reason="", updated_at=now,
    )  # fmt: skip
    async with Database.open(await pooler(), pool=_SHARED) as shared:
        store = DatabaseStateStore(shared)
        heard: dict[str, set[tuple[str, str]]] = {"proxy": set(), "direct": set()}

        async def listen(way: str, source: Database) -> None:
            await DatabaseNews(source, sender=UUID(int=0)).listen(
                lambda news: heard[way].update((entry.name, entry.sender) for entry in news)
            )

        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            listening = [group.create_task(listen("proxy", shared)), group.create_task(listen("direct", database))]
            await store.save([opened], [], moved={"gpt"})
            while not all(heard.values()):
                await asyncio.sleep(0.02)
            for task in listening:
                task.cancel()
        assert heard == {"proxy": {("gpt", str(store.sender))}, "direct": {("gpt", str(store.sender))}}


async def test_a_schema_is_checked_but_not_changed_through_the_proxy(pooler) -> None:
    async with Database.open(await pooler(), pool=_SHARED) as shared:
        assert await migrate(shared) == ()
        everything = packaged_migrations()
        more = Migration(version=len(everything) + 1, name="more", text="CREATE TABLE more (id int)")
        with pytest.raises(MigrationError, match="_more, which cannot be applied through a proxy"):
            await migrate(shared, migrations=[*everything, more])


async def _use_all_at_once(config: ConnectionConfig, pool: PoolConfig, names: list[str]) -> None:
    async with Database.open(config, pool=pool) as database, asyncio.TaskGroup() as group:
        for name in names:
            group.create_task(use_everything(database, name))


async def test_without_the_switch_the_error_names_it(pooler, database: Database) -> None:
    """Shows too that this proxy does swap connections, so that the tests above would fail without their care."""
    lenient = "ignore_startup_parameters = statement_timeout, lock_timeout, idle_in_transaction_session_timeout"
    names = [f"w{number}" for number in range(6)]
    await make_tables(database, names)
    config = await pooler(lenient)
    with pytest.raises((DatabaseError, ExceptionGroup)) as caught:
        await _use_all_at_once(config, PoolConfig(size=10), names)
    first = caught.value.exceptions[0] if isinstance(caught.value, ExceptionGroup) else caught.value
    assert "POSTGRES_POOL_MODE=transaction" in str(first)
