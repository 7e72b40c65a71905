"""Ways to write the same rows into one table: one statement a row, ours, and the limits that nothing can beat."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from omninode.bench.measure import Arm
from omninode.storage.database import Database
from omninode.storage.optimizer import PerformanceOptimizer

__all__ = ["Row", "Ways"]

Row = dict[str, Any]  # Any: a column holds whatever its type is.


@dataclass(frozen=True, kw_only=True)
class Ways:
    """The ways to write `count` rows into `table`; each times only the writing, and checks what is there afterwards.

    `statements` names the file of queries with `insert`, `update`, `delete`, `upsert`, `count` and `clear` for it,
    `changed` the columns that `update` sets, beside `id`.
    """

    database: Database
    optimizer: PerformanceOptimizer
    table: str
    statements: str
    make_rows: Callable[[int], list[Row]]
    changed: tuple[str, ...]
    count: int

    def inserts(self) -> dict[str, Arm]:
        """One statement a row, the same in one transaction, one batch, and the driver's own COPY."""
        return {
            "one a row": self._inserting(self._one_a_row),
            "one transaction": self._inserting(self._one_transaction),
            "batch": self._inserting(self.batch),
            "raw COPY": self._inserting(self._raw_copy),
        }

    def changes(self, operation: str) -> dict[str, Arm]:
        """`operation` on rows that are there, one statement a row and as one batch."""
        return {
            "one a row": lambda: self._changed(operation, is_batch=False),
            "batch": lambda: self._changed(operation, is_batch=True),
        }

    async def served(self) -> Arm:
        """The server's COPY from a file in its own directory, written here at first: no client at all."""
        async with self.database.acquire() as session:
            folder = await session.driver.fetchval("SHOW data_directory")
        path = f"{folder}/{self.table}-{self.count}.copy"
        await self.run("clear")
        await self.batch(self.make_rows(self.count))
        await self._told_server(f"COPY {self.table} TO '{path}' (FORMAT binary)")

        async def load(_: list[Row]) -> None:
            await self._told_server(f"COPY {self.table} FROM '{path}' (FORMAT binary)")

        return self._inserting(load)

    async def batch(self, rows: Sequence[Row]) -> None:
        """Insert `rows` as a caller of ours would."""
        await self.optimizer.batch_write_with_pooling(rows, "INSERT", self.table)

    async def run(self, statement: str, *args: object) -> int:
        """Run one of the statements of this table."""
        return await self.database.execute(f"{self.statements}.{statement}", *args)

    async def expect(self, count: int) -> None:
        """Raise unless `count` rows are there."""
        found = await self.database.fetchval(f"{self.statements}.count")
        if found != count:
            raise RuntimeError(f"{found} rows are in the table instead of {count}; the arms do not do the same")

    async def _told_server(self, text: str) -> None:
        async with self.database.acquire() as session:
            await session.driver.execute(text)

    def _inserting(self, write: Callable[[list[Row]], Awaitable[None]]) -> Arm:
        async def timed() -> float:
            await self.run("clear")
            rows = self.make_rows(self.count)
            before = time.perf_counter()
            await write(rows)
            seconds = time.perf_counter() - before
            await self.expect(self.count)
            return seconds

        return timed

    async def _one_a_row(self, rows: list[Row]) -> None:
        for row in rows:
            await self.run("insert", *row.values())

    async def _one_transaction(self, rows: list[Row]) -> None:
        async with self.database.transaction() as session:
            for row in rows:
                await session.execute(f"{self.statements}.insert", *row.values())

    async def _raw_copy(self, rows: list[Row]) -> None:
        records = [tuple(row.values()) for row in rows]
        async with self.database.acquire() as session:
            # The driver itself, with nothing of ours around it: that is what makes it the limit.
            await session.driver.copy_records_to_table(self.table, records=records, columns=list(rows[0]))

    async def _changed(self, operation: str, *, is_batch: bool) -> float:
        await self.run("clear")
        rows = self.make_rows(self.count)
        await self.batch(rows)
        if operation == "UPSERT":
            rows = rows[::2] + self.make_rows(self.count - len(rows[::2]))
        sent = [{name: row[name] for name in self._sent(operation, row)} for row in rows]
        before = time.perf_counter()
        if is_batch:
            await self.optimizer.batch_write_with_pooling(sent, operation, self.table)
        else:
            for row in sent:
                await self.run(operation.lower(), *row.values())
        seconds = time.perf_counter() - before
        await self.expect({"UPDATE": self.count, "DELETE": 0, "UPSERT": self.count + self.count // 2}[operation])
        return seconds

    def _sent(self, operation: str, row: Row) -> tuple[str, ...]:
        return {"UPDATE": ("id", *self.changed), "DELETE": ("id",)}.get(operation, tuple(row))
