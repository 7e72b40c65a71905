"""Rollups are what the facts come to: counted once, in the right bucket, whoever wrote them."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from omninode.core.deadline import Deadline
from omninode.core.ids import uuid7
from omninode.storage.database import Database
from omninode.storage.flusher import FlusherConfig, SpoolFlusher
from omninode.storage.histogram import bucket_of
from omninode.storage.kept import KEPT_DAYS
from omninode.storage.retention import prune
from omninode.storage.rollup import Rollups, merge_closed
from omninode.storage.rollup_tables import ROLLUPS, Rollup, rollup_names
from omninode.storage.spool import Spool

pytestmark = pytest.mark.integration

NOW = datetime.now(UTC)
QUICK = FlusherConfig(interval_s=0.005, longest_wait_s=0.05)
ALL = [rollup for rollups in ROLLUPS.values() for rollup in rollups]


@pytest.fixture(autouse=True)
async def _empty(database: Database) -> None:
    async with database.acquire() as session:
        await session.driver.execute(
            f"TRUNCATE runs, llm_calls, performance_metrics, agent_performance, error_events, {', '.join(rollup_names())}"
        )


def fact(age: timedelta, **columns: Any) -> dict[str, Any]:
    return {"id": str(uuid7()), "ts": (NOW - age).isoformat(timespec="microseconds"), **columns}


def metric(value: float, age: timedelta = timedelta(0), **columns: Any) -> dict[str, Any]:
    return fact(age, metric="m", phase=None, value=value, ok=True, labels={}) | columns


def history(seed: int, count: int = 400) -> dict[str, list[dict[str, Any]]]:
    """Rows of every table that is rolled up, as different as they can be, over the last four hours."""
    chance = random.Random(seed)
    tables: dict[str, list[dict[str, Any]]] = {table: [] for table in ROLLUPS}
    for _ in range(count):
        age = timedelta(seconds=chance.uniform(0, 4 * 3600))
        ok = chance.random() < 0.8
        tables["llm_calls"].append(
            fact(age, role=chance.choice("pvw"), provider="p", deployment=chance.choice(["d", "e"]),
                 model=chance.choice("mn"), ok=ok, agent_id=chance.choice([None, "a"]),
                 error_class=None if ok else chance.choice(["E", "CancelledError"]),
                 attempts=chance.randint(1, 3), duration_ms=chance.randint(0, 90_000),
                 tokens_in=chance.randint(0, 99), tokens_out=chance.randint(0, 99),
                 cost_uusd=chance.choice([None, 0, 70]), cache=chance.choice(["off", "hit", "shared", "miss"]),
                 degraded=chance.choice([None, None, "fallback"]), is_simulated=chance.random() < 0.1)
        )  # fmt: skip
        tables["performance_metrics"].append(
            metric(chance.uniform(0, 1e6), age, metric=chance.choice(["phase_duration_ms", "x"]), ok=ok,
                   phase=chance.choice([None, "reporting"]))
        )  # fmt: skip
        tables["agent_performance"].append(
            fact(age, agent_id=chance.choice("ab"), task_type=chance.choice("tu"), success=ok,
                 duration_ms=chance.randint(0, 90_000), tokens_in=1, tokens_out=2,
                 cost_uusd=chance.choice([None, 5]), error_class=None if ok else chance.choice("EF"), metadata={})
        )  # fmt: skip
        tables["error_events"].append(
            fact(age, fingerprint=chance.choice("fg"), error_class="E", message="x", retryable=ok, attempt=1,
                 place="", phase=chance.choice([None, "reporting"]), context={})
        )  # fmt: skip
        status = chance.choice(["done", "failed", "running"])
        started = (NOW - age).isoformat(timespec="microseconds")
        tables["runs"].append(
            {"id": str(uuid7()), "started_at": started, "finished_at": None if status == "running" else started,
             "status": status, "prompt": "p", "workspace": chance.choice([None, "w"]), "is_simulated": ok,
             "duration_ms": None if status == "running" else chance.randint(0, 90_000), "error": None, "report": None}
        )  # fmt: skip
    return tables


async def flush(database: Database, place: Path, tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Through a spool of their own into the tables."""
    spool = Spool(place)
    flusher = SpoolFlusher(spool, database, config=QUICK)
    for table, rows in tables.items():
        for row in rows:
            spool.put(table, dict(row), key="id" if table == "runs" else None)
    assert await flusher.flush(Deadline.after(15)) == 0, flusher.statistics()
    await flusher.close()


async def summed(database: Database, rollup: Rollup) -> list[tuple[Any, ...]]:
    """What a reader sees of the rollup, per grain, bucket and keys."""
    columns = [f"sum({column})" for column in rollup.sums if column != "total"]
    columns += ["round(sum(total)::numeric, 3)"] if "total" in rollup.sums else []
    columns += ["sum(latency)::text"] if rollup.histogram else []
    columns += ["min(first_at)"] if rollup.first_at else []
    columns += ["max(last_at)"] if rollup.last_at else []
    columns += (
        ["min(lowest)", "max(highest)", "(array_agg(last_value ORDER BY last_at DESC))[1]"] if rollup.gauge else []
    )
    keys = ", ".join(["grain", "bucket", *rollup.keys])
    async with database.acquire() as session:
        rows = await session.driver.fetch(
            f"SELECT {keys}, {', '.join(columns)} FROM {rollup.name} GROUP BY {keys} ORDER BY {keys}"
        )
    return [tuple(row) for row in rows]


async def everything(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    return {rollup.name: await summed(database, rollup) for rollup in ALL}


async def rows_in(database: Database, table: str) -> int:
    async with database.acquire() as session:
        return int(await session.driver.fetchval(f"SELECT count(*) FROM {table}"))


@pytest.mark.parametrize("seed", range(3))
async def test_what_writers_added_up_is_what_the_facts_come_to(database: Database, tmp_path: Path, seed: int) -> None:
    tables = history(seed)
    halves = [{table: rows[part::2] for table, rows in tables.items()} for part in (0, 1)]
    # Two processes at once, each with a spool of its own.
    await asyncio.gather(*(flush(database, tmp_path / str(part), halves[part]) for part in (0, 1)))
    told = await everything(database)
    assert all(told.values())
    async with database.acquire() as session:
        await session.driver.execute("SELECT omn_rebuild_rollups($1)", NOW - timedelta(days=1))
    assert await everything(database) == told


async def test_a_late_row_is_counted_in_its_own_minute_and_hour(database: Database, tmp_path: Path) -> None:
    age = timedelta(days=3, minutes=17)
    await flush(database, tmp_path, {"performance_metrics": [metric(5, age)]})
    begin = (NOW - age).replace(second=0, microsecond=0)
    found = await summed(database, ROLLUPS["performance_metrics"][0])
    assert [row[:2] for row in found] == [("hour", begin.replace(minute=0)), ("minute", begin)]


async def test_a_row_that_is_set_aside_is_not_counted(database: Database, tmp_path: Path) -> None:
    bad = metric(2) | {"metric": None}
    await flush(database, tmp_path, {"performance_metrics": [metric(1), bad, metric(3)]})
    assert await rows_in(database, "dead_letters") == 1
    (_, minute) = await summed(database, ROLLUPS["performance_metrics"][0])
    assert minute[4] == 2


async def test_a_batch_that_is_rolled_back_counts_nothing(database: Database) -> None:
    async def fail() -> None:
        async with database.transaction() as session:
            await Rollups().add(session, "performance_metrics", [metric(1)])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await rows_in(database, "rollup_metrics") == 0


async def test_values_that_cannot_be_added_up_hold_up_nothing(database: Database) -> None:
    rollups = Rollups()
    async with database.transaction() as session:
        assert await rollups.add(session, "performance_metrics", [metric(1) | {"value": "12"}]) == 0
        assert await rollups.add(session, "votes", [{"id": "x"}]) == 0
    assert rollups.uncounted == 1


async def test_a_run_counts_once_when_it_ends_and_a_lost_one_too(database: Database, tmp_path: Path) -> None:
    run = {"id": str(uuid7()), "started_at": NOW.isoformat(), "prompt": "p", "workspace": None, "is_simulated": False,
           "finished_at": None, "duration_ms": None, "error": None, "report": None}  # fmt: skip
    lost = run | {"id": str(uuid7())}
    rows = [run | {"status": "running"}, lost | {"status": "running"}, run | {"status": "done", "duration_ms": 7}]
    await flush(database, tmp_path, {"runs": rows})
    for _ in range(2):
        assert await database.fetchval("runs.mark_lost", UUID(lost["id"]), "killed")
    found = {(row[0], row[2]): row[4] for row in await summed(database, ROLLUPS["runs"][0])}
    assert found == {("hour", "done"): 1, ("minute", "done"): 1, ("hour", "lost"): 1, ("minute", "lost"): 1}


async def test_closed_buckets_of_many_writers_become_one_row_each(database: Database, tmp_path: Path) -> None:
    tables = history(7, count=60)
    for writer in range(4):
        await flush(database, tmp_path / str(writer), {table: rows[writer::4] for table, rows in tables.items()})
    told = await everything(database)
    before = {name: await rows_in(database, name) for name in told}
    later = NOW + timedelta(hours=3)
    assert await merge_closed(database, later) == sum(before.values())
    assert await everything(database) == told
    for rollup in ALL:
        assert await rows_in(database, rollup.name) == len(told[rollup.name])
    assert await merge_closed(database, later) == 0


async def test_merging_and_writing_at_once_lose_nothing(database: Database, tmp_path: Path) -> None:
    age = timedelta(hours=5)
    done = asyncio.Event()

    async def merge() -> None:
        while not done.is_set():
            await merge_closed(database, NOW)

    async def write() -> None:
        async with asyncio.TaskGroup() as group:
            for writer in range(3):
                rows = [metric(number, age, phase=f"p{number % 5}") for number in range(300)]
                group.create_task(flush(database, tmp_path / str(writer), {"performance_metrics": rows}))
        done.set()

    await asyncio.gather(merge(), write())
    assert sum(row[4] for row in await summed(database, ROLLUPS["performance_metrics"][0])) == 2 * 900


async def test_minutes_go_after_two_days_and_hours_stay(database: Database, tmp_path: Path) -> None:
    await flush(database, tmp_path, {"performance_metrics": [metric(1, timedelta(days=3)), metric(1)]})
    report = await prune(database, KEPT_DAYS, now=NOW)
    assert report.deleted == {"rollup_minutes": 1}
    assert [row[0] for row in await summed(database, ROLLUPS["performance_metrics"][0])] == ["hour", "hour", "minute"]


async def test_buckets_in_sql_are_those_in_python(database: Database) -> None:
    chance = random.Random(5)
    values = [0.0, -1.0, 0.0025, 1.0, 600_000.0, 1e300] + [10 ** chance.uniform(-4, 15) for _ in range(2000)]
    async with database.acquire() as session:
        rows = await session.driver.fetch("SELECT omn_bucket(v) AS bucket FROM unnest($1::float8[]) WITH ORDINALITY AS u (v, n) ORDER BY n", values)  # fmt: skip
    assert [row["bucket"] for row in rows] == [bucket_of(value) for value in values]


async def test_ranges_cover_a_period_once_with_few_minutes(database: Database) -> None:
    chance = random.Random(3)
    minute, hour = timedelta(minutes=1), timedelta(hours=1)
    for _ in range(200):
        since = NOW - timedelta(seconds=chance.uniform(0, 46 * 3600))
        until = since + timedelta(seconds=chance.choice([59, 3600, chance.uniform(1, 40 * 3600)]))
        async with database.acquire() as session:
            ranges = await session.driver.fetch("SELECT * FROM omn_ranges($1, $2) ORDER BY low", since, until)
        assert ranges[0]["low"] == since.replace(second=0, microsecond=0)
        assert ranges[-1]["high"] == until or ranges[-1]["high"] == until.replace(minute=0, second=0, microsecond=0)
        assert all(first["high"] == second["low"] for first, second in itertools.pairwise(ranges))
        for row in ranges:
            if row["grain"] == "hour":
                assert row["low"].minute == row["high"].minute == 0
            elif len(ranges) > 1:
                assert row["high"] - row["low"] <= hour + minute


async def test_what_is_older_than_the_minutes_is_read_by_the_hour(database: Database) -> None:
    since = NOW - timedelta(days=7)
    async with database.acquire() as session:
        (row,) = await session.driver.fetch("SELECT * FROM omn_ranges($1, $2)", since, NOW)
    assert tuple(row) == ("hour", since.replace(minute=0, second=0, microsecond=0), NOW)
