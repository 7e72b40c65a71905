"""Many rows in one call against one statement a row, on a table of the product with its indexes."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from omninode.bench.measure import Arm, Rounds, Spread, interleave
from omninode.bench.scenario import Figure, Findings, Scenario, at_least
from omninode.bench.surroundings import Surroundings
from omninode.core.ids import uuid7
from omninode.storage.database import Database
from omninode.storage.optimizer import PerformanceOptimizer

__all__ = ["SCENARIO"]

_TABLE = "performance_metrics"
_OTHERS = ("UPDATE", "DELETE", "UPSERT")
Row = dict[str, object]


@dataclass(frozen=True)
class _Arms:
    """The ways to write `count` rows; each times only the writing, and checks that all rows are there afterwards."""

    database: Database
    optimizer: PerformanceOptimizer
    count: int

    def inserts(self) -> dict[str, Arm]:
        return {
            "one a row": self._inserting(self._one_a_row),
            "one transaction": self._inserting(self._one_transaction),
            "batch": self._inserting(self._batch),
            "raw COPY": self._inserting(self._raw_copy),
        }

    def changes(self, operation: str) -> dict[str, Arm]:
        return {
            "one a row": lambda: self._changed(operation, is_batch=False),
            "batch": lambda: self._changed(operation, is_batch=True),
        }

    def _inserting(self, write: Callable[[list[Row]], Awaitable[None]]) -> Arm:
        async def timed() -> float:
            await self.database.execute("bench_rows.clear")
            rows = _rows(self.count)
            before = time.perf_counter()
            await write(rows)
            seconds = time.perf_counter() - before
            await self._expect(self.count)
            return seconds

        return timed

    async def _one_a_row(self, rows: list[Row]) -> None:
        for row in rows:
            await self.database.execute("bench_rows.insert", *row.values())

    async def _one_transaction(self, rows: list[Row]) -> None:
        async with self.database.transaction() as session:
            for row in rows:
                await session.execute("bench_rows.insert", *row.values())

    async def _batch(self, rows: list[Row]) -> None:
        await self.optimizer.batch_write_with_pooling(rows, "INSERT", _TABLE)

    async def _raw_copy(self, rows: list[Row]) -> None:
        records = [tuple(row.values()) for row in rows]
        async with self.database.acquire() as session:
            # The driver itself, with nothing of ours around it: that is what makes it the limit.
            await session.driver.copy_records_to_table(_TABLE, records=records, columns=list(rows[0]))

    async def _changed(self, operation: str, *, is_batch: bool) -> float:
        await self.database.execute("bench_rows.clear")
        rows = _rows(self.count)
        await self._batch(rows)
        if operation == "UPSERT":
            rows = [{**row, "value": 2.0} for row in rows[::2]] + _rows(self.count - len(rows[::2]))
        sent = [_sent(operation, row) for row in rows]
        before = time.perf_counter()
        if is_batch:
            await self.optimizer.batch_write_with_pooling(sent, operation, _TABLE)
        else:
            for row in sent:
                await self.database.execute(f"bench_rows.{operation.lower()}", *row.values())
        seconds = time.perf_counter() - before
        await self._expect({"UPDATE": self.count, "DELETE": 0, "UPSERT": self.count + self.count // 2}[operation])
        return seconds

    async def _expect(self, count: int) -> None:
        found = await self.database.fetchval("bench_rows.count")
        if found != count:
            raise RuntimeError(f"{found} rows are in the table instead of {count}; the arms do not do the same")


def _sent(operation: str, row: Row) -> Row:
    columns = {"UPDATE": ("id", "value"), "DELETE": ("id",)}.get(operation, tuple(row))
    return {name: row[name] for name in columns}


def _rows(count: int) -> list[Row]:
    run, now = uuid7(), datetime.now(UTC)
    return [
        {
            "id": uuid7(),
            "ts": now,
            "run_id": run,
            "phase": "parallel_execution",
            "metric": f"bench_{number % 10}_ms",
            "value": number / 7,
            "ok": True,
            "labels": {"number": number},
        }
        for number in range(count)
    ]


async def _run(room: Surroundings) -> Findings:
    database = await room.database()
    optimizer = PerformanceOptimizer(database, batch_size=1000)
    many = room.scaled(1000, least=20)
    small = await interleave(
        _Arms(database, optimizer, 100).inserts(), rounds=room.scaled(15), budget_s=room.budget_s(4)
    )
    large = await interleave(
        _Arms(database, optimizer, many).inserts(), rounds=room.scaled(9), budget_s=room.budget_s(12)
    )
    others = {
        operation: await interleave(
            _Arms(database, optimizer, many).changes(operation), rounds=room.scaled(4), budget_s=room.budget_s(6)
        )
        for operation in _OTHERS
    }
    await database.execute("bench_rows.clear")
    return Findings(figures=_figures(small, large, others, many), notes=_notes(large))


def _figures(small: Rounds, large: Rounds, others: dict[str, Rounds], many: int) -> tuple[Figure, ...]:
    share = [100 * raw / ours for raw, ours in zip(large.times["raw COPY"], large.times["batch"], strict=True)]
    return (
        Figure(
            name=f"INSERT {many:,} rows: one a row / batch",
            spread=large.ratio("one a row", "batch"),
            target=at_least(20),
        ),
        Figure(
            name=f"INSERT {many:,} rows: speed of raw COPY reached",
            spread=Spread.of(share),
            unit="%",
            target=at_least(45),
        ),
        Figure(
            name=f"INSERT {many:,} rows: one a row in one transaction / batch",
            spread=large.ratio("one transaction", "batch"),
        ),
        Figure(name="INSERT 100 rows: one a row / batch", spread=small.ratio("one a row", "batch")),
        *(
            Figure(name=f"{operation} {many:,} rows: one a row / batch", spread=rounds.ratio("one a row", "batch"))
            for operation, rounds in others.items()
        ),
    )


def _notes(large: Rounds) -> tuple[str, ...]:
    milliseconds = ", ".join(
        f"{arm} {large.spread(arm, scale=1000).median:.1f} ms"
        for arm in ("one a row", "one transaction", "batch", "raw COPY")
    )
    return (
        (
            f"{_TABLE} with its three indexes, embedded Postgres, every commit synced, prepared statements in every arm; "
            f"INSERT medians: {milliseconds}"
        ),
    )


SCENARIO = Scenario(
    name="batch",
    claim="batch database operations are 10-50x faster",
    compared="batch_write_with_pooling against one statement a row through the same pool",
    limit="the driver's binary COPY of the same rows",
    run=_run,
)
