"""`PerformanceOptimizer`: the document's door to batches, indexes and query advice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from omninode.core import ambient
from omninode.core.clock import Clock, SystemClock
from omninode.core.errors import ConfigurationError
from omninode.storage.advisor import QueryReport, report_queries
from omninode.storage.batch import Operation, RowData
from omninode.storage.bulk import LARGEST_BATCH, BatchProgress, BatchRequest, BatchResult, BulkWriter
from omninode.storage.database import Database
from omninode.storage.indexes import IndexChange, create_missing

__all__ = ["BatchProgress", "BatchResult", "PerformanceOptimizer"]

# The document's BATCH_OPERATION_SIZE.
_FIRST_BATCH = 100


class PerformanceOptimizer:
    """Fast batches, missing indexes, slow queries.

    Without `database` it uses that of the open runtime, or of one opened now (`core.ambient`); without `batch_size`
    the BATCH_OPERATION_SIZE of the open runtime, or 100. Safe to use from many tasks at once.
    """

    def __init__(
        self,
        database: Database | None = None,
        *,
        batch_size: int | None = None,
        clock: Clock | None = None,
    ) -> None:
        if batch_size is not None and not 1 <= batch_size <= LARGEST_BATCH:
            raise ConfigurationError(f"the batch size is {batch_size}; set BATCH_OPERATION_SIZE to 1..{LARGEST_BATCH}")
        self._database = database
        self._batch_size = batch_size
        self._writer = BulkWriter(clock=clock or SystemClock())

    async def batch_write_with_pooling(  # noqa: PLR0913 - the document's own, and one keyword per choice
        self,
        data: Sequence[RowData],
        operation_type: str,
        table_name: str,
        *,
        key_columns: Sequence[str] = ("id",),
        on_conflict: Literal["fail", "skip"] = "fail",
        batch_size: int | None = None,
        isolate: bool = False,
        dry_run: bool = False,
        progress: Callable[[BatchProgress], None] | None = None,
    ) -> BatchResult:
        """Write all of `data` (mappings of column to value) and say what was done.

        The whole call is one transaction: when a row cannot be written, none is, and BatchDataError names table,
        column and row. With `isolate`, each batch is a transaction, bad rows go to `dead_letters`, and only a call
        that wrote nothing raises. Batches begin with `batch_size` (BATCH_OPERATION_SIZE) and double while they take
        less than 50 ms, unless the size is given here. Deadlocks and serialisation failures are repeated.

        Args:
            operation_type: INSERT, UPDATE, DELETE or UPSERT, in any case.
            table_name: an ordinary table, as 'table' or 'schema.table'.
            key_columns: what identifies a row for UPDATE, DELETE and UPSERT; of several rows with one key the last
                wins.
            on_conflict: what INSERT does with a row that violates a unique index.
            dry_run: do everything, then take it back, the log of it included: the result and the errors are those
                of the real call. Sequences move on, and locks are held as long as it takes.
            progress: called after each batch, before the commit. What it raises ends the call and comes out of it,
                as does every error; a call that is repeated after a deadlock begins again at the first row.
        """
        database, first_batch = await self._opened()
        request = BatchRequest(
            data=data,
            operation=Operation.parse(operation_type),
            table=table_name,
            keys=key_columns,
            on_conflict=on_conflict,
            batch_size=first_batch if batch_size is None else batch_size,
            grows=batch_size is None,
            isolate=isolate,
            is_dry=dry_run,
            progress=progress,
        )
        return await self._writer.write(database, request)

    async def create_missing_indexes(self, *, dry_run: bool = False) -> tuple[IndexChange, ...]:
        """Create, without blocking writers, the indexes that foreign keys and lookups by run lack.

        Idempotent: what is there, in any form that serves, is left alone. With `dry_run` nothing is created.
        """
        return await create_missing((await self._opened())[0], dry_run=dry_run)

    async def optimize_queries(self, *, limit: int = 20) -> QueryReport:
        """Refresh stale planner statistics and report how the dearest statements run.

        Looks at the `limit` statements that took most time in this process, asks the server for their plans, and
        names full scans of large tables with their filter.
        """
        return await report_queries((await self._opened())[0], limit=limit)

    async def _opened(self) -> tuple[Database, int]:
        """The database to use, and how many rows the first batch of a call has."""
        runtime = await ambient.runtime() if self._database is None else ambient.find()
        database: Database = self._database or runtime.database
        configured: int = _FIRST_BATCH if runtime is None else runtime.settings.batch_operation_size
        return database, self._batch_size or configured
