"""One connection in use: named statements on it, and the driver's connection for the bulk paths of this room."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from omninode.storage.failures import answered, translated
from omninode.storage.statements import StatementClock

if TYPE_CHECKING:
    import asyncpg
    from asyncpg.pool import PoolConnectionProxy

    from omninode.storage.queries import Queries

    # Any: a column holds whatever its statement selects.
    Row = asyncpg.Record
    DriverConnection = asyncpg.Connection[Row] | PoolConnectionProxy[Row]

__all__ = ["Session", "touched"]


class Session:
    """Named statements on one connection; not to be used by two tasks at once.

    Every method raises DatabaseUnavailableError when the connection is lost and DatabaseError when the server refuses
    the statement. `driver` is asyncpg's connection; only this room uses it. `limits` are settings that the session
    itself cannot keep: every transaction begins with them.
    """

    __slots__ = ("_limits", "_queries", "_times", "driver")

    def __init__(
        self,
        driver: DriverConnection,
        queries: Queries,
        times: StatementClock | None = None,
        *,
        limits: Mapping[str, str] | None = None,
    ) -> None:
        self.driver = driver
        self._limits = limits
        self._queries = queries
        self._times = times or StatementClock()

    async def fetch(self, name: str, *args: object) -> list[Row]:
        """All rows of the statement `name` ('file.statement')."""
        text = self._queries.text(name)
        async with self._running(name):
            return await self.driver.fetch(text, *args)

    async def fetchrow(self, name: str, *args: object) -> Row | None:
        """The first row, or None when there is none."""
        text = self._queries.text(name)
        async with self._running(name):
            return await self.driver.fetchrow(text, *args)

    # Any: the type of the first column of a statement known by name.
    async def fetchval(self, name: str, *args: object) -> Any:
        """The first column of the first row, or None when there is no row."""
        text = self._queries.text(name)
        async with self._running(name):
            return await self.driver.fetchval(text, *args)

    async def execute(self, name: str, *args: object) -> int:
        """Run the statement; how many rows it touched (0 for a statement that touches none)."""
        text = self._queries.text(name)
        async with self._running(name):
            return touched(await self.driver.execute(text, *args))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Commit when the body ends, roll back when it raises; inside another transaction, a savepoint."""
        with translated("transaction"):
            is_savepoint = self.driver.is_in_transaction()
            async with self.driver.transaction():
                if self._limits and not is_savepoint:
                    await self.driver.execute(";".join(f"SET LOCAL {name}={ms}" for name, ms in self._limits.items()))
                yield

    @asynccontextmanager
    async def rolled_back(self) -> AsyncIterator[None]:
        """Undo what the body did when it ends, however it ends; inside another transaction, that alone."""
        with translated("transaction"):
            transaction = self.driver.transaction()
            await transaction.start()
            try:
                yield
            finally:
                await transaction.rollback()

    @asynccontextmanager
    async def _running(self, name: str) -> AsyncIterator[None]:
        before = time.perf_counter()
        with answered(f"statement {name}"):
            try:
                yield
            finally:
                self._times.add(name, time.perf_counter() - before)


def touched(status: str) -> int:
    """The row count at the end of a command tag such as `INSERT 0 5`."""
    tail = status.rpartition(" ")[2]
    return int(tail) if tail.isdigit() else 0
