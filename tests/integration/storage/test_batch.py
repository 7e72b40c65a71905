"""Batches on a real server: what is written, what is refused, and that a refusal leaves nothing behind."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from omninode.core import current
from omninode.core.errors import BatchDataError
from omninode.core.ids import uuid7
from omninode.runtime.settings import Settings
from omninode.storage.batch import Operation, plan_write
from omninode.storage.catalog import Catalog
from omninode.storage.database import Database
from omninode.storage.dead_letters import bury
from omninode.storage.isolation import write_isolating
from omninode.storage.optimizer import PerformanceOptimizer

pytestmark = pytest.mark.integration

NOW = datetime.now(UTC)
_TABLE = """
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN positive AS integer CHECK (value > 0);
CREATE TABLE things (
    id uuid PRIMARY KEY, name varchar(10) NOT NULL DEFAULT 'none', n integer, ratio double precision, price numeric(8, 2),
    seen timestamptz, ok boolean, tags text[], body jsonb, mood mood, count positive, raw bytea, day date,
    made timestamptz DEFAULT now(), twice integer GENERATED ALWAYS AS (n * 2) STORED);
CREATE TABLE pairs (a text, b integer, v text, PRIMARY KEY (a, b));
CREATE TABLE "Odd ""name" (id integer PRIMARY KEY, "se""lect" text);
CREATE VIEW seen_things AS SELECT id FROM things;
"""


@pytest.fixture
async def tables(database: Database) -> AsyncIterator[Database]:
    async with database.acquire() as session:
        await session.driver.execute(_TABLE)
    yield database
    async with database.acquire() as session:
        await session.driver.execute(
            'DROP TABLE things, pairs, "Odd ""name" CASCADE; DROP TYPE mood; DROP DOMAIN positive;'
            "TRUNCATE batch_operation_logs, dead_letters"
        )


async def rows_of(database: Database, text: str, *args: object) -> list[dict[str, Any]]:
    async with database.acquire() as session:
        return [dict(row) for row in await session.driver.fetch(text, *args)]


def thing(**changes: object) -> dict[str, object]:
    return {"id": uuid7(), "name": "x", "n": 1, **changes}


async def test_insert_stores_every_type(tables: Database) -> None:
    row = {
        "id": uuid7(),
        "name": "näme",
        "n": -(2**30),
        "ratio": 0.1,
        "price": Decimal("12.34"),
        "seen": datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
        "ok": True,
        "tags": ["a", None, 'c,"d'],
        "body": {"k": [1, 2.5, None, "ü"]},
        "mood": "happy",
        "count": 3,
        "raw": b"\x00\xff",
        "day": datetime(2026, 1, 2, tzinfo=UTC).date(),
    }
    result = await PerformanceOptimizer(tables).batch_write_with_pooling([row], "INSERT", "things")
    assert (result.rows, result["rows"], result.method) == (1, 1, "copy")
    [stored] = await rows_of(tables, f"SELECT {', '.join(row)} FROM things")
    assert stored == row


async def test_spool_style_strings_become_uuid_and_time(tables: Database) -> None:
    identifier = uuid7()
    row = {"id": str(identifier), "seen": "2026-01-02T03:04:05Z"}
    await PerformanceOptimizer(tables).batch_write_with_pooling([row], "insert", "things")
    [stored] = await rows_of(tables, "SELECT id, seen FROM things")
    assert stored == {"id": identifier, "seen": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)}


async def test_absent_column_gets_its_default_and_none_is_null(tables: Database) -> None:
    optimizer = PerformanceOptimizer(tables)
    await optimizer.batch_write_with_pooling([{"id": uuid7(), "n": None}], "INSERT", "things")
    [stored] = await rows_of(tables, "SELECT name, n, made IS NOT NULL AS made FROM things")
    assert stored == {"name": "none", "n": None, "made": True}


@pytest.mark.parametrize("size", [3, 1500])
async def test_update_changes_only_the_named_rows_and_columns(tables: Database, size: int) -> None:
    optimizer = PerformanceOptimizer(tables)
    data = [thing(n=number) for number in range(size)]
    await optimizer.batch_write_with_pooling(data, "INSERT", "things")
    changes = [{"id": row["id"], "n": number + 10} for number, row in enumerate(data[1:], 1)]
    result = await optimizer.batch_write_with_pooling([*changes, {"id": uuid7(), "n": 0}], "Update", "things")
    assert (result.rows, result.skipped) == (size - 1, 1)
    stored = await rows_of(tables, "SELECT n, name FROM things ORDER BY n")
    assert [row["n"] for row in stored] == [0, *range(11, size + 10)]
    assert {row["name"] for row in stored} == {"x"}


@pytest.mark.parametrize("tags", [False, True])
@pytest.mark.parametrize("size", [3, 1500])
async def test_upsert_inserts_and_replaces_and_the_last_of_a_key_wins(tables: Database, size: int, tags: bool) -> None:
    optimizer = PerformanceOptimizer(tables)
    extra: dict[str, object] = {"tags": ["t"]} if tags else {}
    data = [thing(n=number, **extra) for number in range(size)]
    await optimizer.batch_write_with_pooling(data[: size // 2], "INSERT", "things")
    again = [*data, {**data[0], "n": -1}]
    result = await optimizer.batch_write_with_pooling(again, "UPSERT", "things", batch_size=2000)
    assert (result.rows, result.skipped) == (size, 1)
    assert result.method == ("stage" if size > 1000 or tags else "unnest")
    stored = {row["id"]: row["n"] for row in await rows_of(tables, "SELECT id, n FROM things")}
    assert stored == {row["id"]: row["n"] for row in again}


async def test_delete_takes_single_and_composite_keys(tables: Database) -> None:
    optimizer = PerformanceOptimizer(tables)
    data = [thing() for _ in range(5)]
    await optimizer.batch_write_with_pooling(data, "INSERT", "things")
    result = await optimizer.batch_write_with_pooling([{"id": row["id"]} for row in data[:3]], "DELETE", "things")
    assert (result.rows, result.method) == (3, "any")
    pairs = [{"a": letter, "b": number, "v": "v"} for letter in "xy" for number in range(3)]
    await optimizer.batch_write_with_pooling(pairs, "INSERT", "pairs")
    result = await optimizer.batch_write_with_pooling(pairs[:2], "DELETE", "pairs", key_columns=["a", "b"])
    assert result.rows == 2
    assert len(await rows_of(tables, "SELECT FROM pairs")) == 4


async def test_insert_skips_conflicts_when_asked(tables: Database) -> None:
    optimizer = PerformanceOptimizer(tables)
    row = thing()
    await optimizer.batch_write_with_pooling([row], "INSERT", "things")
    result = await optimizer.batch_write_with_pooling([row, thing()], "INSERT", "things", on_conflict="skip")
    assert (result.rows, result.skipped) == (1, 1)


async def test_names_are_quoted_as_the_catalogue_spells_them(tables: Database) -> None:
    optimizer = PerformanceOptimizer(tables)
    data = [{"id": 1, 'se"lect': "a"}]
    for operation in ("INSERT", "UPSERT", "UPDATE", "DELETE"):
        assert (await optimizer.batch_write_with_pooling(data, operation, 'Odd "name')).rows == 1


async def test_small_batches_add_up(tables: Database) -> None:
    data = [thing() for _ in range(25)]
    result = await PerformanceOptimizer(tables).batch_write_with_pooling(data, "INSERT", "things", batch_size=10)
    assert (result.rows, result.batches) == (25, 3)


async def test_batches_grow_while_they_are_quick(tables: Database) -> None:
    data = [thing() for _ in range(700)]
    result = await PerformanceOptimizer(tables, batch_size=100).batch_write_with_pooling(data, "INSERT", "things")
    assert result.rows == 700
    assert result.batches in {3, 4, 5, 6, 7}  # 3 when every batch stays below 50 ms


async def test_the_open_runtime_says_how_large_the_first_batch_is(tables: Database) -> None:
    settings = SimpleNamespace(batch_operation_size=10)
    with current.entered(runtime=SimpleNamespace(database=tables, settings=settings)):
        result = await PerformanceOptimizer().batch_write_with_pooling([thing() for _ in range(30)], "INSERT", "things")
    assert result.rows == 30
    assert result.batches > 1


ROWS: list[tuple[str, list[Any], str, str | None, int | None]] = [
    ("unknown column", [thing(colour="red")], "no column 'colour'", "colour", None),
    ("ragged rows", [thing(), {"id": uuid7(), "name": "y"}], "differs from row 0", "n", 1),
    ("not a mapping", [thing(), ["a"]], "row 1", None, 1),
    ("wrong type", [thing(), thing(n="1")], "row 1, column things.n .integer.", "n", 1),
    ("a boolean for a number", [thing(n=True)], "row 0", "n", 0),
    ("too large", [thing(n=2**31)], "outside", "n", 0),
    ("NUL in text", [thing(), thing(name="a\0b")], "NUL", "name", 1),
    ("lone surrogate", [thing(name="\ud800")], "surrogate", "name", 0),
    ("too long", [thing(name="x" * 11)], "takes 10", "name", 0),
    ("naive time", [thing(seen=datetime(2026, 1, 1))], "no time zone", "seen", 0),  # noqa: DTZ001
    ("bad uuid", [thing(id="nonsense")], "row 0", "id", 0),
    ("NaN in JSON", [thing(body={"a": [math.nan]})], "NaN", "body", 0),
    ("NUL in JSON", [thing(body={"a": "\0"})], "NUL", "body", 0),
    ("not JSON", [thing(body={"a": object()})], "not JSON", "body", 0),
    ("unknown label", [thing(mood="angry")], "not one of happy", "mood", 0),
    ("generated column", [thing(twice=2)], "generated", "twice", None),
    ("a key twice", [thing(), *[thing(id=UUID(int=5)) for _ in range(2)]], "duplicate key", None, 2),
    ("domain check", [thing(), thing(count=0)], "differs", "count", 1),
    ("domain check", [thing(count=1), thing(count=0)], "positive", None, 1),
    ("null in a required column", [thing(), thing(name=None)], "null value", "name", 1),
]


@pytest.mark.parametrize(("what", "data", "message", "column", "row"), ROWS, ids=[entry[0] for entry in ROWS])
async def test_bad_row_is_named_and_nothing_is_written(
    tables: Database, what: str, data: list[Any], message: str, column: str | None, row: int | None
) -> None:
    with pytest.raises(BatchDataError, match=message) as caught:
        await PerformanceOptimizer(tables).batch_write_with_pooling([*data, *data[:0]], "INSERT", "things")
    assert (caught.value.table, caught.value.column, caught.value.row) == ("things", column, row)
    assert await rows_of(tables, "SELECT FROM things") == []


CALLS: list[tuple[str, dict[str, Any], str]] = [
    ("no rows", {"data": []}, "there are no rows"),
    ("not a list", {"data": "rows"}, "pass a list"),
    ("batch size 0", {"batch_size": 0}, "batch size is 0"),
    ("misspelt operation", {"operation_type": "INSRET"}, "INSRET.*use one of INSERT"),
    ("unknown table", {"table_name": "thongs"}, "no table 'thongs'"),
    ("SQL in the table", {"table_name": "things; DROP TABLE things"}, "no table"),
    ("a view", {"table_name": "seen_things"}, "is a view"),
    ("a system table", {"table_name": "pg_catalog.pg_class"}, "of the system"),
    ("NUL in the table", {"table_name": "a\0b"}, "cannot be the name"),
    ("no unique index", {"operation_type": "UPSERT", "key_columns": ["n"]}, "needs a unique index"),
    ("unknown key", {"operation_type": "DELETE", "key_columns": ["nope"]}, "no column 'nope'"),
    ("keys as a string", {"operation_type": "DELETE", "key_columns": "id"}, "list of column names"),
    ("null key", {"operation_type": "DELETE", "data": [{"id": None}]}, "names no row"),
    ("only keys", {"operation_type": "UPDATE", "data": [{"id": UUID(int=1)}]}, "nothing but their keys"),
    ("key missing", {"operation_type": "UPDATE", "data": [{"n": 1}]}, "needs the key 'id'"),
]


@pytest.mark.parametrize(("changes", "message"), [entry[1:] for entry in CALLS], ids=[entry[0] for entry in CALLS])
async def test_bad_call_is_refused(tables: Database, changes: dict[str, Any], message: str) -> None:
    call: dict[str, Any] = {"data": [thing()], "operation_type": "INSERT", "table_name": "things", **changes}
    with pytest.raises(BatchDataError, match=message):
        await PerformanceOptimizer(tables).batch_write_with_pooling(**call)
    assert await rows_of(tables, "SELECT FROM things") == []


async def test_bad_row_in_a_late_batch_takes_the_early_ones_back(tables: Database) -> None:
    data = [thing() for _ in range(30)]
    data.append(dict(data[3]))
    with pytest.raises(BatchDataError) as caught:
        await PerformanceOptimizer(tables).batch_write_with_pooling(data, "INSERT", "things", batch_size=10)
    assert caught.value.row == 30
    assert await rows_of(tables, "SELECT FROM things") == []


# A key in the shape of one, which belongs to nobody.
_SECRET = "sk-proj-" + "aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY3zA5bC7dE9fG1hJ3"


@pytest.fixture
async def vault(database: Database) -> AsyncIterator[Database]:
    async with database.acquire() as session:
        await session.driver.execute(
            "CREATE TABLE vault (id integer PRIMARY KEY, token text UNIQUE, n integer NOT NULL CHECK (n > 0), password uuid)"
        )
    yield database
    async with database.acquire() as session:
        await session.driver.execute("DROP TABLE vault; TRUNCATE batch_operation_logs, dead_letters")


async def _refused(database: Database, *rows: dict[str, object]) -> str:
    """What the caller is told; what is stored about it holds no secret."""
    optimizer = PerformanceOptimizer(database)
    with pytest.raises(BatchDataError) as caught:
        await optimizer.batch_write_with_pooling(rows, "INSERT", "vault")
    with pytest.raises(BatchDataError):
        await optimizer.batch_write_with_pooling(rows[-1:], "INSERT", "vault", isolate=True)
    logs = await rows_of(database, "SELECT error FROM batch_operation_logs")
    letters = await rows_of(database, "SELECT error, row FROM dead_letters")
    assert logs
    assert letters
    assert _SECRET not in repr(logs)
    assert _SECRET not in repr([letter["error"] for letter in letters])
    # The row itself is the only copy, and stays as it was given.
    assert _SECRET in repr(letters[-1]["row"])
    return caught.value.message


async def test_a_doubled_key_is_told_once_by_its_column_and_not_by_its_value(vault: Database) -> None:
    await PerformanceOptimizer(vault).batch_write_with_pooling([{"id": 0, "token": _SECRET, "n": 1}], "INSERT", "vault")

    message = await _refused(vault, {"id": 1, "token": _SECRET, "n": 1})

    assert message.endswith("(key (token) already exists)")
    assert "DETAIL" not in message
    assert _SECRET not in message


@pytest.mark.parametrize(("number", "reason"), [(None, "null value in column"), (0, "violates check constraint")])
async def test_a_failing_row_is_not_quoted(vault: Database, number: int | None, reason: str) -> None:
    message = await _refused(vault, {"id": 1, "token": _SECRET, "n": number})

    assert reason in message
    assert _SECRET not in message


async def test_a_refused_value_that_is_secret_by_shape_or_by_name_is_not_stored(vault: Database) -> None:
    shaped = await _refused(vault, {"id": _SECRET, "n": 1})
    named = await _refused(vault, {"id": 1, "n": 1, "password": "hunter2 " + _SECRET})

    assert "column vault.id" in shaped
    assert "column vault.password" in named
    assert "hunter2" not in named


async def test_isolated_bad_rows_go_to_dead_letters(tables: Database) -> None:
    data = [thing(n=number) for number in range(40)]
    data[7]["name"] = "a\0b"
    data[23]["id"] = data[22]["id"]
    result = await PerformanceOptimizer(tables).batch_write_with_pooling(data, "INSERT", "things", isolate=True)
    assert (result.rows, result.failed) == (38, 2)
    assert len(await rows_of(tables, "SELECT FROM things")) == 38
    buried = await rows_of(tables, "SELECT table_name, sqlstate, row->>'n' AS n FROM dead_letters ORDER BY id")
    assert buried == [
        {"table_name": "things", "sqlstate": None, "n": "7"},
        {"table_name": "things", "sqlstate": "23505", "n": "23"},
    ]


async def test_rows_that_are_stored_already_are_found_by_a_handful_of_statements(tables: Database) -> None:
    data = [thing(n=number) for number in range(5000)]
    optimizer = PerformanceOptimizer(tables)
    await optimizer.batch_write_with_pooling(data, "INSERT", "things")
    added = thing(n=-1)
    statements: list[str] = []
    async with tables.transaction() as session:
        session.driver.add_query_logger(lambda query: statements.append(query.query))
        plan = plan_write(await Catalog().table(session, "things"), Operation.INSERT, data)
        # A doubled row of our own too: the first of the two is written.
        written, bad = await write_isolating(session, plan, [*data, added, dict(added)])
        await bury(session, bad, [*data, added, added], table="things", operation=Operation.INSERT, now=NOW)
    assert written == 1
    assert [entry.index for entry in bad] == [*range(5000), 5001]
    assert {entry.sqlstate for entry in bad} == {"23505"}
    assert len(await rows_of(tables, "SELECT FROM things")) == 5001
    letters = await rows_of(tables, "SELECT row->>'n' AS n, error FROM dead_letters ORDER BY id")
    assert [letter["n"] for letter in letters] == [*map(str, range(5000)), "-1"]
    assert "key (id) already exists" in letters[0]["error"]
    assert len(statements) < 25, statements


async def test_a_row_is_written_when_the_one_before_it_with_its_key_is_not(tables: Database) -> None:
    async with tables.acquire() as session:
        await session.driver.execute("ALTER TABLE things ADD UNIQUE (name)")
    optimizer = PerformanceOptimizer(tables)
    await optimizer.batch_write_with_pooling([thing(name="taken")], "INSERT", "things")
    twice = thing(name="taken", count=1)
    rows = [
        thing(name="a", count=1),
        twice,
        {**twice, "name": "free"},
        thing(name="b", count=-1),
        thing(name="b", count=1),
    ]
    result = await optimizer.batch_write_with_pooling(rows, "INSERT", "things", isolate=True)
    assert (result.rows, result.failed) == (3, 2)
    found = await rows_of(tables, "SELECT name FROM things ORDER BY name")
    assert [row["name"] for row in found] == ["a", "b", "free", "taken"]
    letters = await rows_of(tables, "SELECT sqlstate, row->>'name' AS name FROM dead_letters ORDER BY id")
    assert letters == [{"sqlstate": "23505", "name": "taken"}, {"sqlstate": "23514", "name": "b"}]


async def test_isolated_call_that_wrote_nothing_raises(tables: Database) -> None:
    with pytest.raises(BatchDataError, match="none of 1 rows"):
        await PerformanceOptimizer(tables).batch_write_with_pooling([thing(n="x")], "INSERT", "things", isolate=True)


async def test_each_call_leaves_one_log_row(tables: Database) -> None:
    optimizer = PerformanceOptimizer(tables)
    await optimizer.batch_write_with_pooling([thing(), thing()], "insert", "things", batch_size=1)
    with pytest.raises(BatchDataError):
        await optimizer.batch_write_with_pooling([thing(n="x")], "INSERT", "things")
    logs = await rows_of(
        tables,
        "SELECT operation, method, rows_ok, rows_failed, batches, error IS NULL AS ok FROM batch_operation_logs ORDER BY id",
    )
    assert logs == [
        {"operation": "INSERT", "method": "copy", "rows_ok": 2, "rows_failed": 0, "batches": 2, "ok": True},
        {"operation": "INSERT", "method": "copy", "rows_ok": 0, "rows_failed": 1, "batches": 0, "ok": False},
    ]


async def test_table_changed_meanwhile_is_read_again(tables: Database) -> None:
    optimizer = PerformanceOptimizer(tables)
    await optimizer.batch_write_with_pooling([thing()], "INSERT", "things")
    async with tables.acquire() as session:
        await session.driver.execute("ALTER TABLE things ADD COLUMN colour text")
    result = await optimizer.batch_write_with_pooling([thing(colour="red")], "INSERT", "things")
    assert result.rows == 1


async def test_writers_of_the_same_keys_do_not_deadlock(tables: Database) -> None:
    optimizer = PerformanceOptimizer(tables)
    data = [thing(n=number) for number in range(200)]

    async def write(turn: int) -> None:
        rows = data if turn % 2 else data[::-1]
        await optimizer.batch_write_with_pooling(rows, "UPSERT", "things")
        await optimizer.batch_write_with_pooling(rows, "UPDATE", "things")

    async with asyncio.TaskGroup() as group:
        for turn in range(8):
            group.create_task(write(turn))
    assert len(await rows_of(tables, "SELECT FROM things")) == 200


async def test_zero_arguments_use_the_open_runtime_and_its_batch_size(tables: Database) -> None:
    class Runtime:
        database = tables
        settings = Settings(batch_operation_size=2)

    with current.entered(runtime=Runtime()):
        result = await PerformanceOptimizer().batch_write_with_pooling([thing(), thing(), thing()], "INSERT", "things")
    assert (result.rows, result.batches) == (3, 2)


async def test_missing_indexes_are_created_once(tables: Database) -> None:
    async with tables.acquire() as session:
        await session.driver.execute(
            "CREATE TABLE children (id uuid PRIMARY KEY, thing_id uuid REFERENCES things, run_id uuid, ts timestamptz);"
            "CREATE INDEX ON children (ts DESC)"
        )
    optimizer = PerformanceOptimizer(tables)
    planned = await optimizer.create_missing_indexes(dry_run=True)
    created = await optimizer.create_missing_indexes()
    again = await optimizer.create_missing_indexes()
    mine = [(change.columns, change.reason, change.created) for change in created if change.table == "children"]
    assert mine == [
        (("thing_id",), "foreign key children_thing_id_fkey", True),
        (("run_id",), "rows are looked up by run_id", True),
    ]
    assert [change.name for change in planned] == [change.name for change in created]
    assert again == ()
    found = await rows_of(tables, "SELECT indexdef FROM pg_indexes WHERE indexname = 'omn_auto_children_run_id'")
    assert len(found) == 1
    async with tables.acquire() as session:
        await session.driver.execute("DROP TABLE children")


async def test_query_report_names_full_scans_and_refreshes_statistics(tables: Database) -> None:
    async with tables.acquire() as session:
        await session.driver.execute(
            "INSERT INTO error_events (id, ts, fingerprint, error_class, message, retryable, place)"
            # A version 7 UUID of now; only newer servers make one.
            " SELECT (lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint), 12, '0') || '7000' || '8'"
            "   || lpad(n::text, 15, '0'))::uuid, now() + n * interval '1 s', 'f', 'E', 'm', false, 'p'"
            " FROM generate_series(1, 12000) n"
        )
        await session.driver.execute("SELECT pg_stat_force_next_flush()")
    tables.queries._files["storage_test"] = {"errors_of_place": "SELECT id FROM error_events WHERE place = $1"}
    await tables.fetch("storage_test.errors_of_place", "p")
    report = await PerformanceOptimizer(tables).optimize_queries()
    assert "error_events" in report.analyzed
    [advice] = [entry for entry in report.queries if entry.statement == "storage_test.errors_of_place"]
    assert advice.calls == 1
    assert [(scan.table, "place" in scan.filter) for scan in advice.full_scans] == [("error_events", True)]
    assert timedelta(milliseconds=advice.mean_ms) > timedelta(0)
