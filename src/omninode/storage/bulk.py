"""One call of the batch door from its arguments to its result: checked, split, written, logged.

`batch` knows how one batch is written; this module knows what a call is: one transaction (or one per batch, with bad
rows set aside), repeated when the server rolled it back for a conflict with others.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, fields
from typing import Literal

from omninode.core.clock import Clock
from omninode.core.errors import BatchDataError, DatabaseError, OmniNodeError
from omninode.core.ids import uuid7
from omninode.storage.batch import Operation, Plan, RowData, ordered_rows, plan_write, write_rows
from omninode.storage.catalog import Catalog
from omninode.storage.database import Database
from omninode.storage.dead_letters import bury, storable
from omninode.storage.failures import REPEATABLE
from omninode.storage.isolation import first_bad_row, write_isolating
from omninode.storage.lanes import Lane
from omninode.storage.session import Session
from omninode.validation.secrets import redact

__all__ = ["LARGEST_BATCH", "BatchProgress", "BatchRequest", "BatchResult", "BulkWriter"]

LARGEST_BATCH = 10_000
_TRIES = 6
_GROW_BELOW_S = 0.05
_LOCATE_UP_TO = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchResult:
    """What one call wrote; `result["rows"]` reads the same as `result.rows`.

    `rows` counts rows of the table that were written, changed or removed; `skipped` those that needed nothing (a key
    that is not there, an earlier row of the same key, a conflict to be skipped); `failed` those in dead_letters.
    """

    table: str
    operation: str
    method: str
    rows: int
    skipped: int
    failed: int
    batches: int
    duration_ms: float
    rows_per_s: float

    def __getitem__(self, name: str) -> object:
        if name not in self.keys():
            raise KeyError(name)
        return getattr(self, name)

    def keys(self) -> tuple[str, ...]:
        """The names of the fields, so that `dict(result)` works."""
        return tuple(entry.name for entry in fields(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchProgress:
    """How far a call is: `rows` of `total` have been dealt with, in `batches`, after `duration_ms`."""

    rows: int
    total: int
    batches: int
    duration_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRequest:
    """The arguments of one call, checked as far as they can be without the database."""

    data: Sequence[RowData]
    operation: Operation
    table: str
    keys: Sequence[str] = ("id",)
    on_conflict: Literal["fail", "skip"] = "fail"
    batch_size: int
    grows: bool
    isolate: bool = False
    is_dry: bool = False
    progress: Callable[[BatchProgress], None] | None = None

    def __post_init__(self) -> None:
        table = str(self.table)
        data: object = self.data
        if isinstance(data, str | bytes) or not isinstance(data, Sequence):
            raise BatchDataError(f"data is {type(data).__name__}; pass a list of mappings", table=table)
        if not self.data:
            raise BatchDataError(f"{self.operation} on {table!r}: there are no rows", table=table)
        if not 1 <= self.batch_size <= LARGEST_BATCH:
            raise BatchDataError(f"the batch size is {self.batch_size}; pass 1..{LARGEST_BATCH}", table=table)
        if self.on_conflict not in {"fail", "skip"}:
            raise BatchDataError(f"on_conflict is {self.on_conflict!r}; pass 'fail' or 'skip'", table=table)


@dataclass(slots=True)
class _Tally:
    since: float = field(default_factory=time.perf_counter)
    method: str = ""
    rows: int = 0
    failed: int = 0
    batches: int = 0

    @property
    def duration_ms(self) -> float:
        return max((time.perf_counter() - self.since) * 1000, 1e-6)


class BulkWriter:
    """Writes requests to one database after another; what it learns of their tables it keeps."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._catalogs: dict[str, Catalog] = {}
        self._random = random.Random()  # noqa: S311 - jitter, not a secret

    async def write(self, database: Database, request: BatchRequest) -> BatchResult:
        """Write the request; raises BatchDataError, DatabaseError, PoolExhaustedError with nothing half-written."""
        tally = _Tally()
        try:
            await self._write_repeating(database, request, tally)
        except OmniNodeError as error:
            if request.is_dry:
                raise
            with suppress(OmniNodeError):  # the log is a courtesy; the error is the answer
                async with database.acquire(lane=Lane.INGEST, doing="batch log") as session:
                    await self._log(
                        session, request, _Tally(method=tally.method, since=tally.since), error=error.message
                    )
            raise
        duration_ms = tally.duration_ms
        return BatchResult(
            table=request.table,
            operation=str(request.operation),
            method=tally.method,
            rows=tally.rows,
            skipped=max(0, len(request.data) - tally.rows - tally.failed),
            failed=tally.failed,
            batches=tally.batches,
            duration_ms=duration_ms,
            rows_per_s=1000 * tally.rows / duration_ms,
        )

    async def _write_repeating(self, database: Database, request: BatchRequest, tally: _Tally) -> None:
        for attempt in range(1, _TRIES + 1):
            tally.method, tally.rows, tally.failed, tally.batches = "", 0, 0, 0
            try:
                await self._write(database, request, tally)
            except DatabaseError as error:
                # After a lost connection nobody knows whether the transaction was committed; that is not repeated.
                if attempt == _TRIES or error.sqlstate not in REPEATABLE or request.isolate:
                    raise
                await self._clock.sleep(self._random.uniform(0, 0.02 * 2**attempt))
            else:
                return

    async def _write(self, database: Database, request: BatchRequest, tally: _Tally) -> None:
        async with database.acquire(lane=Lane.INGEST, doing=f"batch {request.operation} {request.table}") as session:
            plan = await self._plan(database, session, request)
            write = self._write_isolated if request.isolate else self._write_whole
            async with session.rolled_back() if request.is_dry else nullcontext():
                await write(session, request, plan, tally)

    async def _plan(self, database: Database, session: Session, request: BatchRequest) -> Plan:
        catalog = self._catalogs.setdefault(database.config.display, Catalog())
        for is_fresh in (False, True):
            try:
                table = await catalog.table(session, request.table)
                return plan_write(
                    table, request.operation, request.data, keys=request.keys, on_conflict=request.on_conflict
                )
            except BatchDataError:
                if is_fresh:
                    raise
                catalog.forget(request.table)  # it may have been changed since it was read
        raise AssertionError  # the loop returns or raises

    async def _write_whole(self, session: Session, request: BatchRequest, plan: Plan, tally: _Tally) -> None:
        order = ordered_rows(plan, request.data)
        try:
            async with session.transaction():
                for part, numbers in _batches(request, order, tally):
                    tally.method = plan.method(len(part))
                    tally.rows += await write_rows(session, plan, part, numbers=numbers)
                await self._log(session, request, tally)
        except BatchDataError as error:
            if error.row is not None or len(order) > _LOCATE_UP_TO:
                raise
            raise await _located(session, plan, request, error, order=order) from error

    async def _write_isolated(self, session: Session, request: BatchRequest, plan: Plan, tally: _Tally) -> None:
        first_error = ""
        for part, numbers in _batches(request, range(len(request.data)), tally):
            tally.method = plan.method(len(part))
            async with session.transaction():
                written, bad = await write_isolating(session, plan, part)
                await bury(session, bad, part, table=plan.table.name, operation=plan.operation, now=self._clock.now())
            tally.rows += written
            tally.failed += len(bad)
            if bad and not first_error:
                first_error = f"row {numbers[bad[0].index]}: {bad[0].error}"
        if tally.failed == len(request.data):
            raise BatchDataError(
                f"{request.operation} on {plan.table.name!r}: none of {tally.failed} rows could be written; the first: "
                f"{first_error}; all are in dead_letters",
                table=plan.table.name,
                row=0,
            )
        await self._log(session, request, tally, error=first_error or None)

    async def _log(self, session: Session, request: BatchRequest, tally: _Tally, *, error: str | None = None) -> None:
        failed = len(request.data) if error is not None and not tally.failed and not tally.rows else tally.failed
        await session.execute(
            "batch.log",
            uuid7(),
            self._clock.now(),
            redact(str(storable(str(request.table)))),
            str(request.operation),
            tally.method or "none",
            tally.rows,
            failed,
            tally.batches,
            round(tally.duration_ms),
            None if error is None else redact(str(storable(error)))[:2000],
        )


def _batches(
    request: BatchRequest, order: Sequence[int], tally: _Tally
) -> Iterator[tuple[list[RowData], Sequence[int]]]:
    """The rows of each batch and their places in the data; a batch that took little time makes the next one larger."""
    size, start = request.batch_size, 0
    while start < len(order):
        before = time.perf_counter()
        numbers = order[start : start + size]
        yield [request.data[number] for number in numbers], numbers
        tally.batches += 1
        start += len(numbers)
        if request.progress is not None:
            request.progress(
                BatchProgress(rows=start, total=len(order), batches=tally.batches, duration_ms=tally.duration_ms)
            )
        if request.grows and time.perf_counter() - before < _GROW_BELOW_S:
            size = min(2 * size, LARGEST_BATCH)


async def _located(
    session: Session, plan: Plan, request: BatchRequest, error: BatchDataError, *, order: Sequence[int]
) -> BatchDataError:
    """`error` with the row it is about, found by trying in a transaction that is rolled back."""
    place = await first_bad_row(session, plan, [request.data[number] for number in order])
    if place is None:
        return error
    row = order[place]
    return BatchDataError(f"row {row}: {error.message}", table=error.table, column=error.column, row=row)
