"""The life of rows ends when they are older than they are kept for, whole children at a time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from omninode.core.clock import SystemClock
from omninode.core.events import MetricRecorded
from omninode.core.ids import uuid7
from omninode.runtime.upkeep import Upkeep
from omninode.storage.connection import connect
from omninode.storage.database import Database
from omninode.storage.kept import KEPT_DAYS
from omninode.storage.partitions import WIDTHS, children, make_children
from omninode.storage.retention import PruneReport, prune
from omninode.testing.sink import RecordingSink

pytestmark = pytest.mark.integration

NOW = datetime.now(UTC)
METRICS = {"performance_metrics": 30.0}


def id_of(days_ago: float) -> UUID:
    moment = NOW - timedelta(days=days_ago)
    return UUID(int=(int(moment.timestamp() * 1000) << 80) | (uuid7().int & ((1 << 80) - 1)))


@pytest.fixture
async def metrics(database: Database):
    """`await metrics(days ago, …)`: one row for each, in a child of its day."""

    async def put(*ages: float) -> list[UUID]:
        ids = [id_of(age) for age in ages]
        async with database.acquire() as session:
            await session.driver.execute("TRUNCATE performance_metrics")
            await session.driver.executemany(
                "INSERT INTO performance_metrics (id, ts, metric, value) VALUES ($1, $2, 'm', 1)",
                [(one, NOW - timedelta(days=age)) for one, age in zip(ids, ages, strict=True)],
            )
        await make_children(database, NOW, keep={"performance_metrics": timedelta(days=400)})
        return ids

    return put


async def left(database: Database, table: str = "performance_metrics") -> set[UUID]:
    async with database.acquire() as session:
        return {row["id"] for row in await session.driver.fetch(f"SELECT id FROM {table}")}


async def test_children_that_are_over_are_dropped_and_younger_ones_stay(database: Database, metrics) -> None:
    ids = await metrics(0, 29, 33, 90)
    report = await prune(database, METRICS, now=NOW)
    assert len(report.dropped) == 2
    assert await left(database) == set(ids[:2])
    async with database.acquire() as session:
        names = {child.name for child in await children(session)}
    assert names.isdisjoint(report.dropped)
    assert await prune(database, METRICS, now=NOW) == PruneReport()


async def test_zero_days_keep_rows_for_ever(database: Database, metrics) -> None:
    ids = await metrics(0, 399)
    assert await prune(database, {"performance_metrics": 0}, now=NOW) == PruneReport()
    assert await left(database) == set(ids)


async def test_stray_rows_go_by_their_time(database: Database) -> None:
    old, young = uuid4(), uuid4()
    async with database.acquire() as session:
        await session.driver.executemany(
            "INSERT INTO votes (id, ts, round, deployment, model, counted, duration_ms) VALUES ($1, $2, 1, 'd', 'm', true, 1)",
            [(old, NOW - timedelta(days=91)), (young, NOW)],
        )
    assert (await prune(database, {"votes": 90}, now=NOW)).deleted == {"votes": 1}
    assert await left(database, "votes") == {young}


async def test_plain_tables_lose_single_rows_and_a_run_that_still_runs_stays(database: Database) -> None:
    running, ended = uuid7(), uuid7()
    async with database.acquire() as session:
        await session.driver.executemany(
            "INSERT INTO runs (id, started_at, status, prompt) VALUES ($1, $2, $3, 'p')",
            [(running, NOW - timedelta(days=200), "running"), (ended, NOW - timedelta(days=200), "done")],
        )
        await session.driver.execute(
            "INSERT INTO alerts (id, ts, alert, state, severity, metric, value, threshold, message) "
            "VALUES ($1, $2, 'a', 'firing', 'info', 'm', 1, 1, '')",
            uuid7(), NOW - timedelta(days=91),
        )  # fmt: skip
        await session.driver.execute(
            "INSERT INTO dead_letters (id, ts, table_name, operation, error, row) VALUES ($1, $2, 't', 'INSERT', '', '{}')",
            uuid7(), NOW - timedelta(days=91),
        )  # fmt: skip
        await session.driver.execute(
            "INSERT INTO context_learning (id, ts, decision_id, task_type, prompt_hash, features, source, context_type, "
            "included, propensity) VALUES ($1, $2, $1, 't', 'h', '{}', 's', 'c', true, 1)",
            id_of(366), NOW - timedelta(days=366),
        )  # fmt: skip
    report = await prune(database, KEPT_DAYS, now=NOW)
    assert report.deleted == {"runs": 1, "alerts": 1, "dead_letters": 1, "context_learning": 1}
    assert await left(database, "runs") == {running}


async def test_a_child_in_use_is_left_for_the_next_time(database: Database, metrics) -> None:
    await metrics(0, 90)
    reader = await connect(database.config)
    async with reader.transaction():
        await reader.fetch("SELECT count(*) FROM performance_metrics")
        report = await prune(database, METRICS, now=NOW)
        assert (report.dropped, len(report.postponed)) == ((), 1)
    await reader.close()
    assert (await prune(database, METRICS, now=NOW)).dropped == report.postponed


async def test_only_one_process_prunes(database: Database, metrics) -> None:
    ids = await metrics(0, 90)
    other = await connect(database.config)
    async with other.transaction():
        assert await other.fetchval(database.queries.text("partitions.try_lock"))
        assert await prune(database, KEPT_DAYS, now=NOW) == PruneReport()
    await other.close()
    assert await left(database) == set(ids)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(prune(database, METRICS, now=NOW)) for _ in range(4)]
    assert sum(len(task.result().dropped) for task in tasks) == 1


async def test_upkeep_makes_prunes_and_tells_of_strays(database: Database, metrics) -> None:
    await metrics(0, 90)
    async with database.acquire() as session:
        await session.driver.execute("TRUNCATE votes")
        await session.driver.execute("INSERT INTO performance_metrics (id, ts, metric, value) VALUES ($1, $2, 'm', 1)", uuid4(), NOW)  # fmt: skip
    sink = RecordingSink()
    report = await Upkeep(database, KEPT_DAYS, sink=sink, clock=SystemClock()).look()
    assert len(report.dropped) == 1
    told = {event.metric: event.value for event in sink.of(MetricRecorded)}
    assert told == {"connections_missing": 0.0, "plan_flips": 0.0, "stray_rows": 1.0}


async def test_upkeep_tells_of_pools_the_server_cannot_serve(database: Database, caplog) -> None:
    sink = RecordingSink()
    async with Database.open(database.config, pool_size=500):
        await Upkeep(database, KEPT_DAYS, sink=sink, clock=SystemClock()).look()
    (missing,) = [event.value for event in sink.of(MetricRecorded) if event.metric == "connections_missing"]
    assert missing > 400
    assert "lower CONNECTION_POOL_SIZE" in caplog.text


async def test_every_partitioned_table_has_its_days() -> None:
    assert set(WIDTHS) < set(KEPT_DAYS)
