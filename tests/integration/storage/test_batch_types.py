"""Values that are unusual in kind or in size: written as they are, or refused by row and column."""

from __future__ import annotations

from collections.abc import AsyncIterator
from ipaddress import IPv4Address
from typing import Any

import pytest

from omninode.core.errors import BatchDataError
from omninode.storage.database import Database
from omninode.storage.optimizer import PerformanceOptimizer

pytestmark = pytest.mark.integration

_OTHERS = """
CREATE TABLE others (id integer PRIMARY KEY, span int4range, place inet, grid text[], tags text[], shape point,
                     raw bytea, body jsonb);
"""
_GIGABYTE = 2**30


@pytest.fixture
async def others(database: Database) -> AsyncIterator[Database]:
    async with database.acquire() as session:
        await session.driver.execute(_OTHERS)
    yield database
    async with database.acquire() as session:
        await session.driver.execute("DROP TABLE others; TRUNCATE batch_operation_logs, dead_letters")


async def _stored(database: Database, columns: str) -> list[tuple[Any, ...]]:
    async with database.acquire() as session:
        rows = await session.driver.fetch(f"SELECT {columns} FROM others ORDER BY id")
    return [tuple(row) for row in rows]


@pytest.mark.parametrize("operation", ["INSERT", "UPSERT"])
@pytest.mark.parametrize(("count", "has_tags"), [(2, False), (2, True), (1500, False)])
async def test_types_without_a_form_of_ours_are_read_by_the_server(
    others: Database, operation: str, count: int, has_tags: bool
) -> None:
    tags = {"tags": ["a"]} if has_tags else {}
    data = [
        {"id": number, "span": f"[{number},{number + 5})", "place": "10.0.0.1", "shape": "(1,2)", **tags}
        for number in range(count)
    ]
    optimizer = PerformanceOptimizer(others)
    assert (await optimizer.batch_write_with_pooling(data, operation, "others", batch_size=2000)).rows == count
    found = await _stored(others, "lower(span), host(place), shape[1]")
    assert found == [(number, "10.0.0.1", 2.0) for number in range(count)]


async def test_such_a_type_can_be_changed_and_can_be_a_key(others: Database) -> None:
    optimizer = PerformanceOptimizer(others)
    addresses = [IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2"), None]
    data = [{"id": number, "place": address} for number, address in enumerate(addresses)]
    await optimizer.batch_write_with_pooling(data, "INSERT", "others")
    await optimizer.batch_write_with_pooling([{"id": 2, "place": "::1"}], "UPDATE", "others")
    deleted = await optimizer.batch_write_with_pooling(
        [{"place": "10.0.0.2"}], "DELETE", "others", key_columns=["place"]
    )
    assert deleted.rows == 1
    assert await _stored(others, "id, host(place)") == [(0, "10.0.0.1"), (2, "::1")]


async def test_vectors_are_lists_of_numbers(others: Database) -> None:
    async with others.acquire() as session:
        if not await session.driver.fetchval("SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'"):
            pytest.skip("this server has no pgvector")
        await session.driver.execute("CREATE EXTENSION IF NOT EXISTS vector; ALTER TABLE others ADD near vector(3); ")
    optimizer = PerformanceOptimizer(others)
    data = [{"id": number, "near": [number, 0.5, -1e-7]} for number in range(3)]
    for operation in ("INSERT", "UPSERT", "UPDATE"):
        assert (await optimizer.batch_write_with_pooling(data, operation, "others")).rows == 3
    assert await _stored(others, "near::text") == [(f"[{number},0.5,-1e-07]",) for number in range(3)]
    with pytest.raises(BatchDataError, match="expected 3 dimensions") as caught:
        await optimizer.batch_write_with_pooling([data[0], {"id": 9, "near": [1, 2]}], "UPSERT", "others")
    assert caught.value.row == 1


@pytest.mark.parametrize(
    ("values", "message", "column"),
    [
        ({"span": "nope"}, "malformed range", None),
        ({"span": {"from": 1}}, "not text as Postgres reads it", "span"),
        ({"place": "10.0.0.1\0"}, "NUL", "place"),
        ({"grid": [["a"], ["b", "c"]]}, "cannot be sent", None),
        ({"raw": bytes(_GIGABYTE)}, "1,073,741,824 bytes", "raw"),
    ],
    ids=["range", "mapping", "NUL", "ragged array", "a gigabyte"],
)
async def test_a_value_that_does_not_fit_is_named_by_its_row(
    others: Database, values: dict[str, object], message: str, column: str | None
) -> None:
    good: dict[str, object] = {"id": 1, **dict.fromkeys(values)}
    with pytest.raises(BatchDataError, match=message) as caught:
        await PerformanceOptimizer(others).batch_write_with_pooling([good, {"id": 2, **values}], "INSERT", "others")
    assert (caught.value.row, caught.value.column) == (1, column)
    assert await _stored(others, "id") == []


async def test_a_row_set_aside_keeps_the_beginning_of_a_huge_value(others: Database) -> None:
    data = [{"id": 1, "raw": b"a"}, {"id": 2, "raw": bytes(_GIGABYTE)}]
    result = await PerformanceOptimizer(others).batch_write_with_pooling(data, "INSERT", "others", isolate=True)
    assert (result.rows, result.failed) == (1, 1)
    async with others.acquire() as session:
        kept = await session.driver.fetchval("SELECT row ->> 'raw' FROM dead_letters")
    assert kept.endswith("(the first 10,000 of 1,073,741,824)")
    assert await _stored(others, "id") == [(1,)]


async def test_a_table_as_wide_as_can_be_is_written_and_one_column_more_is_named(others: Database) -> None:
    names = [f"c{number}" for number in range(1600)]
    async with others.acquire() as session:
        await session.driver.execute(f"CREATE TABLE wide ({', '.join(f'{name} integer' for name in names)})")
    try:
        optimizer = PerformanceOptimizer(others)
        row = dict.fromkeys(names, 7)
        assert (await optimizer.batch_write_with_pooling([row, row], "INSERT", "wide")).rows == 2
        with pytest.raises(BatchDataError, match=r"no column .one_more.; it has c0, .* and 1,580 more") as caught:
            await optimizer.batch_write_with_pooling([{**row, "one_more": 1}], "INSERT", "wide")
        assert caught.value.column == "one_more"
    finally:
        async with others.acquire() as session:
            await session.driver.execute("DROP TABLE wide")
