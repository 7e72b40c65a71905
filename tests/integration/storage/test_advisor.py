"""Advice on planted cases, each with a known right verdict, on a server without extensions and on one with them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace

import pytest

from omninode.storage.advisor import QueryReport, apply_advice, find_flips, report_queries
from omninode.storage.database import Database
from omninode.storage.index_advice import IndexAdvice
from omninode.storage.workload import TimesLog

pytestmark = pytest.mark.integration

_ROWS = 60_000
_TABLES = f"""
CREATE TABLE planted (id bigint PRIMARY KEY, owner integer, kind text, state text, made timestamptz, note text);
INSERT INTO planted SELECT n, n % 5000, 'kind ' || n % 3, CASE WHEN n % 100 = 0 THEN 'rare' ELSE 'common' END,
    now() - n * interval '1 second', md5(n::text) || md5((n + 1)::text) FROM generate_series(1, {_ROWS}) n;
CREATE TABLE parted (id bigint, owner integer, note text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (30000);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (30000) TO (100000);
INSERT INTO parted SELECT n, n % 5000, md5(n::text) FROM generate_series(1, {_ROWS}) n;
CREATE TABLE small (id integer PRIMARY KEY, owner integer);
INSERT INTO small SELECT n, n FROM generate_series(1, 500) n;
ANALYZE planted; ANALYZE parted; ANALYZE small;
"""
_STATEMENTS = {
    "by_owner": "SELECT id FROM planted WHERE owner = $1",
    "by_owner_since": "SELECT id FROM planted WHERE owner = $1 AND made > $2 ORDER BY made",
    "by_kind": "SELECT count(note) FROM planted WHERE kind = $1",
    "by_expression": "SELECT id FROM planted WHERE lower(note) = $1",
    "by_key": "SELECT note FROM planted WHERE id = $1",
    "of_parted": "SELECT note FROM parted WHERE owner = $1",
    "of_small": "SELECT id FROM small WHERE owner = $1",
}
_PLANTED = {"planted", "parted", "small"}
_BUSY_S = 3_600.0


@pytest.fixture
async def planted(database: Database) -> AsyncIterator[Database]:
    """Tables with a known need of indexes, and statements that say they have kept the server busy."""
    database.queries._files["planted"] = _STATEMENTS
    async with database.acquire() as session:
        if await session.driver.fetchval("SELECT count(*) FROM pg_available_extensions WHERE name = 'hypopg'"):
            await session.driver.execute("CREATE EXTENSION IF NOT EXISTS hypopg")
        await session.driver.execute(_TABLES)
        # How many rows came in is told to the server's statistics a second later, if nobody asks for it.
        await session.driver.execute("SELECT pg_stat_force_next_flush()")
    yield database
    async with database.acquire() as session:
        await session.driver.execute("DROP TABLE planted, parted, small; TRUNCATE statement_times, statement_plans")


async def _report(database: Database, *names: str) -> QueryReport:
    for name in names:
        database._times.add(f"planted.{name}", _BUSY_S)
    return await report_queries(database)


async def _advice(database: Database, *names: str) -> Mapping[tuple[str, tuple[str, ...]], IndexAdvice]:
    return {(advice.table, advice.columns): advice for advice in (await _report(database, *names)).indexes}


async def test_an_index_that_helps_is_advised_with_its_evidence(planted: Database) -> None:
    found = await _advice(planted, "by_owner", "by_owner_since")
    assert found.keys() == {("planted", ("owner",)), ("planted", ("owner", "made"))}
    advice = found["planted", ("owner",)]
    assert advice.is_worth_it
    assert advice.gain > 5
    assert advice.saved_ms > advice.cost_ms
    assert advice.statements == ("planted.by_owner",)
    assert 300_000 < advice.size_bytes < 3_000_000
    async with planted.acquire() as session:
        has_extension = await session.driver.fetchval("SELECT count(*) FROM pg_extension WHERE extname = 'hypopg'")
        assert advice.how == ("hypopg" if has_extension else "sample")
        # Trying leaves nothing behind.
        assert await session.driver.fetchval("SELECT count(*) FROM pg_class WHERE relname LIKE 'omninode_tried%'") == 0


async def test_an_index_that_would_not_help_is_not_advised(planted: Database) -> None:
    found = await _advice(planted, "by_kind")
    assert not found["planted", ("kind",)].is_worth_it
    assert found["planted", ("kind",)].reason


@pytest.mark.parametrize("name", ["by_expression", "by_key", "of_small"])
async def test_what_needs_no_index_or_could_use_none_is_left_alone(planted: Database, name: str) -> None:
    assert await _advice(planted, name) == {}


async def test_an_index_that_costs_its_writers_more_than_it_spares_readers_is_not_advised(planted: Database) -> None:
    planted._times.add("planted.by_owner", 0.000_001)
    [advice] = (await report_queries(planted)).indexes
    assert not advice.is_worth_it
    assert "costs writers" in advice.reason


async def test_what_is_worth_it_is_built_used_and_then_not_asked_for(planted: Database) -> None:
    report = await _report(planted, "by_owner", "by_kind", "of_parted")
    built = {change.table: change for change in await apply_advice(planted, report) if change.table in _PLANTED}
    assert {table: (change.columns, change.created) for table, change in built.items()} == {
        "planted": (("owner",), True),
        "parted": (("owner",), True),
    }
    async with planted.acquire() as session:
        await session.driver.execute("ANALYZE parted")
        invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"
        assert await session.driver.fetchval(invalid) == 0
        children = "SELECT count(*) FROM pg_indexes WHERE tablename LIKE 'parted__' AND indexname LIKE 'omn_auto%'"
        assert await session.driver.fetchval(children) == 2
    later = await report_queries(planted)
    assert {advice.columns for advice in later.indexes} == {("kind",)}
    assert {query.full_scans for query in later.queries if query.statement == "planted.of_parted"} == {()}


async def test_an_index_the_planner_does_not_use_after_all_is_dropped(planted: Database) -> None:
    report = await _report(planted, "by_kind")
    [advice] = report.indexes
    hope = replace(advice, columns=("note",), texts=(_STATEMENTS["by_expression"],), is_worth_it=True)
    hopeful = replace(report, indexes=(hope,))
    [change] = [change for change in await apply_advice(planted, hopeful) if change.table == "planted"]
    assert not change.created
    assert "built and not used: dropped" in change.reason
    async with planted.acquire() as session:
        assert await session.driver.fetchval("SELECT to_regclass('omn_auto_planted_note')") is None


async def test_indexes_at_fault_are_named_with_the_remedy(planted: Database) -> None:
    async with planted.acquire() as session:
        await session.driver.execute(
            "CREATE INDEX long_one ON planted (owner, kind); CREATE INDEX short_one ON planted (owner);"
            "CREATE INDEX scattered_one ON planted USING brin (owner); ANALYZE planted;"
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'scattered_one'::regclass"
        )
    report = await report_queries(planted)
    found = {(fault.fault, fault.index): fault for fault in report.faults if fault.table == "planted"}
    assert found.keys() == {("covered", "short_one"), ("invalid", "scattered_one"), ("scattered", "scattered_one")}
    assert found["covered", "short_one"].remedy == 'DROP INDEX CONCURRENTLY "public"."short_one"'
    assert found["invalid", "scattered_one"].remedy == 'REINDEX INDEX CONCURRENTLY "public"."scattered_one"'
    async with planted.acquire() as session:
        rows = await session.fetch("indexes.faults", 0)
    # Nothing is called unused before it was watched for days; told to count from today, the long one is.
    assert ("unused", "long_one") in {(row["fault"], row["index"]) for row in rows}


async def test_our_own_schema_has_no_index_at_fault(planted: Database) -> None:
    report = await report_queries(planted)
    assert [fault for fault in report.faults if fault.table not in _PLANTED] == []


async def test_a_plan_that_changes_is_told_once(planted: Database) -> None:
    planted._times.add("planted.by_owner", 1.0)
    assert await find_flips(planted) == ()
    async with planted.acquire() as session:
        await session.driver.execute("CREATE INDEX other_way ON planted (owner)")
    [flip] = await find_flips(planted)
    assert (flip.statement, flip.is_dearer) == ("planted.by_owner", False)
    assert "Seq Scan planted" in flip.before
    assert "other_way" in flip.after
    assert await find_flips(planted) == ()
    async with planted.acquire() as session:
        await session.driver.execute("DROP INDEX other_way")
    [back] = await find_flips(planted)
    assert back.is_dearer


async def test_times_of_all_processes_add_up(planted: Database, database_url: str) -> None:
    logs = [TimesLog(planted)]
    async with Database.open(database_url, pool_size=1) as other:
        other.queries._files["planted"] = _STATEMENTS
        logs.append(TimesLog(other))
        for database in (planted, other):
            database._times.add("planted.by_key", 0.5)
        for log in (*logs, *logs):
            await log.save()
    rows = {row["statement"]: row for row in await planted.fetch("workload.times")}
    assert (rows["planted.by_key"]["calls"], rows["planted.by_key"]["total_ms"]) == (2, 1000.0)


async def test_statements_of_others_are_counted_where_the_server_counts_them(planted: Database) -> None:
    async with planted.acquire() as session:
        if "pg_stat_statements" not in await session.driver.fetchval("SHOW shared_preload_libraries"):
            pytest.skip("this server does not count statements")
        await session.driver.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        for number in range(200):
            await session.driver.fetch("SELECT note FROM planted WHERE owner = $1 LIMIT 7", number)
        statements = (await report_queries(planted)).queries
    assert any("LIMIT $" in query.statement or "owner = $1" in query.statement for query in statements)
