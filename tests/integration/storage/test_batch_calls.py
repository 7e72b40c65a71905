"""A batch call as a whole: rehearsed, watched, ended half-way."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from omninode.core.errors import BatchDataError
from omninode.storage.database import Database
from omninode.storage.optimizer import BatchProgress, PerformanceOptimizer

pytestmark = pytest.mark.integration


@pytest.fixture
async def counters(database: Database) -> AsyncIterator[Database]:
    async with database.acquire() as session:
        await session.driver.execute("CREATE TABLE counters (id integer PRIMARY KEY, n integer NOT NULL)")
    yield database
    async with database.acquire() as session:
        await session.driver.execute("DROP TABLE counters; TRUNCATE batch_operation_logs, dead_letters")


def _rows(count: int) -> list[dict[str, object]]:
    return [{"id": number, "n": number} for number in range(count)]


async def _counts(database: Database) -> tuple[int, int, int]:
    """Rows written, calls logged, rows set aside."""
    async with database.acquire() as session:
        return tuple(
            await session.driver.fetchrow(
                "SELECT (SELECT count(*) FROM counters), (SELECT count(*) FROM batch_operation_logs),"
                " (SELECT count(*) FROM dead_letters)"
            )
        )


@pytest.mark.parametrize("isolate", [False, True])
async def test_a_dry_run_says_what_the_call_would_do_and_leaves_nothing(counters: Database, isolate: bool) -> None:
    optimizer = PerformanceOptimizer(counters)
    rows = _rows(25)
    if isolate:
        rows[3]["n"] = None
    rehearsed = await optimizer.batch_write_with_pooling(
        rows, "INSERT", "counters", batch_size=10, isolate=isolate, dry_run=True
    )
    assert await _counts(counters) == (0, 0, 0)
    real = await optimizer.batch_write_with_pooling(rows, "INSERT", "counters", batch_size=10, isolate=isolate)
    assert (rehearsed.rows, rehearsed.failed, rehearsed.batches) == (real.rows, real.failed, real.batches)
    assert (await _counts(counters))[0] == real.rows


async def test_a_dry_run_raises_what_the_call_would_raise(counters: Database) -> None:
    with pytest.raises(BatchDataError, match="null value") as caught:
        await PerformanceOptimizer(counters).batch_write_with_pooling(
            [*_rows(3), {"id": 3, "n": None}], "INSERT", "counters", dry_run=True
        )
    assert caught.value.row == 3
    assert await _counts(counters) == (0, 0, 0)


async def test_progress_is_told_after_each_batch(counters: Database) -> None:
    seen: list[BatchProgress] = []
    await PerformanceOptimizer(counters).batch_write_with_pooling(
        _rows(25), "INSERT", "counters", batch_size=10, progress=seen.append
    )
    assert [(entry.rows, entry.total, entry.batches) for entry in seen] == [(10, 25, 1), (20, 25, 2), (25, 25, 3)]
    assert [entry.duration_ms for entry in seen] == sorted(entry.duration_ms for entry in seen)


class _EnoughError(Exception):
    """What a caller raises who has seen enough."""


async def test_a_progress_callback_that_raises_ends_the_call_with_nothing_written(counters: Database) -> None:
    def stop(progress: BatchProgress) -> None:
        if progress.batches == 2:
            raise _EnoughError

    with pytest.raises(_EnoughError):
        await PerformanceOptimizer(counters).batch_write_with_pooling(
            _rows(25), "INSERT", "counters", batch_size=10, progress=stop
        )
    assert (await _counts(counters))[0] == 0
