"""Facts by time: what a first-release database held is in the right children, and new rows find theirs."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from omninode.core.ids import time_of, uuid7
from omninode.storage.database import Database
from omninode.storage.migrate import migrate, packaged_migrations
from omninode.storage.partitions import AHEAD, WIDTHS, children, floor, make_children, strays

pytestmark = pytest.mark.integration

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
ROWS: dict[str, dict[str, Any]] = {
    "performance_metrics": {"metric": "m", "value": 1.5, "ok": True, "labels": {"a": 1}},
    "llm_payloads": {"request": {"messages": []}},
    "llm_calls": {"role": "worker", "provider": "p", "deployment": "d", "model": "m", "ok": True, "duration_ms": 5,
                  "attempts": 1, "tokens_in": 0, "tokens_out": 0, "cache": "off", "is_simulated": False},
    "agent_performance": {"agent_id": "a", "task_type": "t", "success": True, "duration_ms": 5, "tokens_in": 1,
                          "tokens_out": 1, "metadata": {}},
    "error_events": {"fingerprint": "f", "error_class": "E", "message": "x", "retryable": True, "attempt": 1,
                     "place": "", "context": {}},
    "tasks": {"run_id": str(uuid4()), "task_id": "t1", "agent_id": "a", "task_type": "t", "description": "d",
              "depends_on": ["t0"], "status": "ok", "duration_ms": 5, "wait_ms": 0},
    "votes": {"round": 1, "deployment": "d", "model": "m", "counted": True, "duration_ms": 5, "weight": 1.0,
              "deficiencies": ["x"]},
    "batch_operation_logs": {"table_name": "x", "operation": "INSERT", "method": "copy", "rows_ok": 1,
                             "rows_failed": 0, "batches": 1, "duration_ms": 1},
}  # fmt: skip

# What the first release had; the others were made as they are.
OLDEST = set(WIDTHS) - {"llm_payloads"}


def id_of(moment: datetime) -> UUID:
    """A version 7 id as it would have been made at `moment`."""
    return UUID(int=(int(moment.timestamp() * 1000) << 80) | (uuid7().int & ((1 << 80) - 1)))


async def insert(database: Database, table: str, ids: list[UUID]) -> None:
    rows = [{"id": str(one), "ts": NOW.isoformat()} | ROWS[table] for one in ids]
    columns = ", ".join(rows[0])
    async with database.acquire() as session:
        await session.driver.execute(
            f"INSERT INTO {table} ({columns}) SELECT {columns} FROM jsonb_populate_recordset(NULL::{table}, $1)", rows
        )


async def places(database: Database, table: str) -> dict[UUID, str]:
    async with database.acquire() as session:
        rows = await session.driver.fetch(f"SELECT id, tableoid::regclass::text AS child FROM {table}")
    return {row["id"]: row["child"] for row in rows}


def child_of(table: str, moment: datetime) -> str:
    return f"{table}_p{floor(moment, WIDTHS[table]):%Y%m%d}"


@pytest.fixture(params=["empty", "older"])
def bare(request: pytest.FixtureRequest) -> Database:
    """A database without a schema: of the embedded server, and of PostgreSQL 15."""
    return request.getfixturevalue(request.param)


async def test_rows_of_the_first_release_are_all_there_in_the_right_children(bare: Database) -> None:
    first, *others = packaged_migrations()
    await migrate(bare, migrations=[first])
    moments = [NOW, NOW - 3 * DAY, NOW - 40 * DAY, NOW - 399 * DAY]
    timed = [id_of(moment) for moment in moments]
    untimed = [uuid4(), id_of(NOW - 5000 * DAY), id_of(NOW + 900 * DAY)]
    kept: dict[str, list[Any]] = {}
    for table in OLDEST:
        await insert(bare, table, [*timed, *untimed])
        async with bare.acquire() as session:
            kept[table] = await session.driver.fetch(f"SELECT * FROM {table} ORDER BY id")
    await migrate(bare, migrations=[first, *others])
    for table in OLDEST:
        async with bare.acquire() as session:
            assert await session.driver.fetch(f"SELECT * FROM {table} ORDER BY id") == kept[table], table
        found = await places(bare, table)
        assert [found[one] for one in timed] == [child_of(table, moment) for moment in moments]
        assert {found[one] for one in untimed} == {f"{table}_default"}
    async with bare.acquire() as session:
        counted = await session.driver.fetchval("SELECT sum(n) FROM rollup_metrics WHERE grain = 'hour'")
    assert counted == len(timed) + len(untimed)


async def test_a_migration_that_fails_half_way_changes_nothing(empty: Database) -> None:
    before = [migration for migration in packaged_migrations() if migration.version < 3]
    partitions = packaged_migrations()[2]
    await migrate(empty, migrations=before)
    await insert(empty, "votes", [uuid7()])
    async with empty.acquire() as session:
        await session.driver.execute("CREATE TABLE votes_default (x int)")  # in the way, half down the list
        with pytest.raises(Exception, match="votes_default"):
            await migrate(empty, migrations=[*before, partitions])
        kinds = await session.driver.fetch("SELECT relkind::text FROM pg_class WHERE relname = ANY ($1)", list(WIDTHS))
    assert {row["relkind"] for row in kinds} == {"r"}
    assert len(await places(empty, "votes")) == 1


async def test_children_are_made_ahead_and_rows_land_in_them(database: Database) -> None:
    later = NOW + 400 * DAY
    assert await make_children(database, later) == len(WIDTHS) * (AHEAD + 1)
    assert await make_children(database, later) == 0
    for table, width in WIDTHS.items():
        moments = [later + number * width for number in range(AHEAD + 1)]
        await insert(database, table, ids := [id_of(moment) for moment in moments])
        found = await places(database, table)
        assert [found[one] for one in ids] == [child_of(table, moment) for moment in moments]


async def test_processes_that_make_children_at_once_make_each_once(database: Database) -> None:
    later = NOW + 800 * DAY
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(make_children(database, later)) for _ in range(4)]
    made = sum(task.result() for task in tasks)
    assert made + await make_children(database, later) == len(WIDTHS) * (AHEAD + 1)


async def test_late_rows_get_a_child_and_strays_are_told(empty: Database) -> None:
    await migrate(empty)
    late, too_late, to_come, untimed = id_of(NOW - 20 * DAY), id_of(NOW - 60 * DAY), id_of(NOW + 99 * DAY), uuid4()
    await insert(empty, "performance_metrics", [late, too_late, to_come, untimed])
    assert await make_children(empty, NOW, keep={"performance_metrics": 30 * DAY}) == 1
    found = await places(empty, "performance_metrics")
    assert found[late] == child_of("performance_metrics", NOW - 20 * DAY)
    assert {found[one] for one in (too_late, to_come, untimed)} == {"performance_metrics_default"}
    async with empty.acquire() as session:
        assert await strays(session) == {"performance_metrics": 3}


async def test_conflicts_on_the_id_are_still_seen(database: Database) -> None:
    await insert(database, "votes", [one := uuid7()])
    async with database.acquire() as session:
        row = {"id": str(one), "ts": NOW.isoformat(), "round": 2} | {
            k: v for k, v in ROWS["votes"].items() if k != "round"
        }
        columns = ", ".join(row)
        await session.driver.execute(
            f"INSERT INTO votes ({columns}) SELECT {columns} FROM jsonb_populate_record(NULL::votes, $1) "
            "ON CONFLICT (id) DO UPDATE SET round = excluded.round",
            row,
        )
        assert await session.driver.fetchval("SELECT round FROM votes WHERE id = $1", one) == 2


async def test_a_question_about_time_opens_only_the_children_of_that_time(database: Database) -> None:
    async with database.acquire() as session:
        everything = {child.name for child in await children(session, ["performance_metrics"])}
        rows = await session.driver.fetch(
            "EXPLAIN SELECT * FROM performance_metrics WHERE id >= omn_since($1) AND ts >= $1", NOW + 2 * DAY
        )
    plan = "\n".join(row[0] for row in rows)
    # Not tomorrow's: just after midnight the time allowed for clocks that differ reaches into the day before.
    assert child_of("performance_metrics", NOW) not in plan
    assert {name for name in everything if f" {name}" in plan} < everything


async def test_bounds_in_sql_are_those_of_ids(database: Database) -> None:
    async with database.acquire() as session:
        for moment in (NOW, datetime(2026, 1, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)):
            low = await session.driver.fetchval("SELECT omn_floor($1)", moment)
            assert low.int == (int(moment.timestamp() * 1000) << 80) | (7 << 76) | (2 << 62)
            assert await session.driver.fetchval("SELECT omn_time($1)", low) == time_of(low)
        assert await session.driver.fetchval("SELECT omn_time($1)", uuid4()) is None
        assert await session.driver.fetchval("SELECT omn_run_since($1)", uuid4()) == UUID(int=0)
        run = uuid7()
        assert await session.driver.fetchval("SELECT omn_run_since($1)", run) < run
