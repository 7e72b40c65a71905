"""From the spool into the tables, exactly once.

A batch and the note of how far it brings its spool (`ingest_offset`) are one transaction. When the outcome of a
commit is unknown, the next try finds the note moved or not moved, and knows. Rows the database refuses are set aside
in `dead_letters`; a database that is away is tried again, with jitter, for as long as it takes.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

import orjson

from omninode.core.clock import Clock, SystemClock
from omninode.core.concurrency import cancel_and_wait
from omninode.core.deadline import Deadline
from omninode.core.errors import BatchDataError, DatabaseError, OmniNodeError
from omninode.storage.batch import BadRow, Operation, Plan, plan_write, write_isolating
from omninode.storage.catalog import Catalog
from omninode.storage.dead_letters import bury
from omninode.storage.segment import Record
from omninode.storage.spool import OrphanSpool, Spool, orphans, parse_label

if TYPE_CHECKING:
    from omninode.storage.database import Database
    from omninode.storage.session import Session

__all__ = ["DEFAULT_RULES", "FlusherConfig", "FlusherStatistics", "SpoolFlusher", "TableRule"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRule:
    """How the rows of a table are written."""

    operation: Operation = Operation.INSERT
    keys: tuple[str, ...] = ()


# A run is told when it starts and again when it ends; everything else is told once.
DEFAULT_RULES: Mapping[str, TableRule] = {"runs": TableRule(operation=Operation.UPSERT, keys=("id",))}


@dataclass(frozen=True, slots=True, kw_only=True)
class FlusherConfig:
    """How often and how much. A batch ends at 1,000 rows or 1 MiB, whichever is first."""

    interval_s: float = 0.1
    batch_rows: int = 1000
    batch_bytes: int = 1024 * 1024
    adopt_every_s: float = 30.0
    longest_wait_s: float = 5.0
    patience: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class FlusherStatistics:
    """Since the flusher was made. `failures` counts tries that wrote nothing; `last_error` is cleared by a success."""

    written: int
    dead: int
    batches: int
    failures: int
    adopted_spools: int
    adopted_rows: int
    last_error: str | None


class _Source(Protocol):
    spool_id: UUID
    position: int

    def take(self, *, rows: int, size: int) -> list[Record]: ...

    def release(self, number: int) -> None: ...


class SpoolFlusher:
    """Writes one process's spool, and those of dead processes in the same directory.

    `async with` starts it in the background; leaving flushes for at most `close_s` seconds, and what is left stays on
    disk for the next process. `after_adoption` is awaited at the start and every `adopt_every_s`, when what dead
    processes left has been written.
    """

    def __init__(
        self,
        spool: Spool,
        database: Database,
        *,
        rules: Mapping[str, TableRule] | None = None,
        config: FlusherConfig | None = None,
        clock: Clock | None = None,
        after_adoption: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._after_adoption = after_adoption
        self._spool = spool
        self._database = database
        self._rules = DEFAULT_RULES if rules is None else rules
        self._config = config or FlusherConfig()
        self._clock = clock or SystemClock()
        self._catalog = Catalog()
        self._random = random.Random()  # noqa: S311 - jitter, not a secret
        self._turn = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._written = self._dead = self._batches = self._failures = 0
        self._adopted_spools = self._adopted_rows = 0
        self._failures_in_a_row = 0
        self._last_error: str | None = None

    async def __aenter__(self) -> SpoolFlusher:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def start(self) -> None:
        """Begin writing in the background."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="spool flusher")

    async def close(self, *, deadline: Deadline | None = None, close_s: float = 5.0) -> int:
        """Stop, flush until `deadline`, close the spool; the rows that are left on disk. Twice is harmless."""
        task, self._task = self._task, None
        if task is not None:
            await cancel_and_wait([task])
        left = await self.flush(deadline or Deadline.after(close_s, clock=self._clock))
        self._spool.close()
        if left == 0:
            await self._forget(self._spool.spool_id)
        return left

    @property
    def is_failing(self) -> bool:
        """Whether the last try wrote nothing because the database was away or refused."""
        return self._failures_in_a_row > 0

    async def flush(self, deadline: Deadline) -> int:
        """Write what the spool holds now; the rows still waiting when the deadline came (0 when all are written)."""
        goal = self._spool.position + self._spool.waiting
        while self._spool.position < goal and not deadline.has_passed:
            try:
                async with asyncio.timeout(deadline.remaining()):
                    moved = await self._step(self._spool)
            except TimeoutError:
                break
            if not moved:
                await self._clock.sleep(deadline.cap(self._pause()))
        return max(0, goal - self._spool.position)

    async def adopt(self, deadline: Deadline) -> int:
        """Write what dead processes left, without being started; how many rows until `deadline` or a failure.

        A failure is in `statistics`; what is left stays on disk.
        """
        before = self._adopted_rows
        try:
            async with asyncio.timeout(deadline.remaining()):
                await self._adopt()
        except (TimeoutError, OmniNodeError) as error:
            self._failed(error)
        return self._adopted_rows - before

    def statistics(self) -> FlusherStatistics:
        """Counts until now."""
        return FlusherStatistics(
            written=self._written,
            dead=self._dead,
            batches=self._batches,
            failures=self._failures,
            adopted_spools=self._adopted_spools,
            adopted_rows=self._adopted_rows,
            last_error=self._last_error,
        )

    async def _run(self) -> None:
        adopt_at = self._clock.monotonic()
        while True:
            try:
                moved = await self._step(self._spool)
                # After a failure our own next row shows whether the database is back; without one, adopting does.
                can_adopt = self._failures_in_a_row == 0 or not self._spool.waiting
                if self._clock.monotonic() >= adopt_at and can_adopt:
                    await self._adopt()
                    self._failures_in_a_row = 0
                    if self._after_adoption is not None:
                        await self._after_adoption()
                    adopt_at = self._clock.monotonic() + self._config.adopt_every_s
            except Exception as error:  # noqa: BLE001 - border: background loop
                self._failed(error)
                moved = False
            if not moved or self._spool.waiting < self._config.batch_rows:
                await self._clock.sleep(self._pause())

    def _pause(self) -> float:
        if self._failures_in_a_row == 0:
            return self._config.interval_s
        ceiling = min(self._config.longest_wait_s, self._config.interval_s * 2 ** min(self._failures_in_a_row, 16))
        return self._random.uniform(self._config.interval_s / 2, ceiling)

    async def _step(self, source: _Source) -> bool:
        """Write the next batch; whether anything was written. A failure is counted, and the batch stays."""
        async with self._turn:
            records = source.take(rows=self._config.batch_rows, size=self._config.batch_bytes)
            if not records:
                return False
            try:
                await self._write(source, records)
            except OmniNodeError as error:
                self._failed(error)
                return False
            self._failures_in_a_row, self._last_error = 0, None
            return True

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        self._failures_in_a_row += 1
        self._last_error = f"{type(error).__name__}: {error}"

    async def _write(self, source: _Source, records: Sequence[Record]) -> None:
        last = records[-1].number
        async with self._database.transaction(doing="spool flush") as session:
            stored = await self._advance(session, source, last)
            dead = await self._write_groups(session, records) if stored is None else 0
        if stored is None:
            stored = last
        count = sum(1 for record in records if record.number <= stored)
        self._written += count - dead
        self._dead += dead
        self._batches += 1
        source.release(stored)

    @staticmethod
    async def _advance(session: Session, source: _Source, last: int) -> int | None:
        """Move the note to `last`; None when that is done, or where it stands when it is not where we thought."""
        if await session.execute("spool.advance", source.spool_id, source.position, last):
            return None
        # This spool never began, or an earlier try was committed after all.
        stored: int = await session.fetchval("spool.begin", source.spool_id, source.position)
        if stored != source.position:
            return stored
        await session.execute("spool.advance", source.spool_id, source.position, last)
        return None

    async def _write_groups(self, session: Session, records: Sequence[Record]) -> int:
        dead = 0
        for label, rows in _grouped(records, self._is_ordered):
            table, key = parse_label(label)
            dead += await self._write_group(session, table, self._rule(table, key), rows)
        return dead

    def _rule(self, table: str, key: str | None) -> TableRule:
        if key is not None:
            return TableRule(operation=Operation.UPSERT, keys=(key,))
        return self._rules.get(table, TableRule())

    def _is_ordered(self, label: str) -> bool:
        return self._rule(*parse_label(label)).operation is not Operation.INSERT

    async def _write_group(
        self, session: Session, table: str, rule: TableRule, rows: Sequence[Mapping[str, object]]
    ) -> int:
        """Write rows of one table with the same columns; how many had to be set aside."""
        try:
            plan = await self._plan(session, table, rule, rows)
            _, bad = await write_isolating(session, plan, rows)
        except (BatchDataError, DatabaseError) as error:
            is_hopeless = isinstance(error, BatchDataError) or self._failures_in_a_row >= self._config.patience
            if error.retryable or not is_hopeless:
                raise
            # The table is not there, has lost a column, or may not be written: none of these rows can go in.
            bad = [BadRow(index=index, error=error.message, sqlstate=_state(error)) for index in range(len(rows))]
        await bury(session, bad, rows, table=table, operation=rule.operation, now=self._clock.now())
        return len(bad)

    async def _plan(self, session: Session, table: str, rule: TableRule, rows: Sequence[Mapping[str, object]]) -> Plan:
        try:
            return plan_write(await self._catalog.table(session, table), rule.operation, rows, keys=rule.keys)
        except BatchDataError:
            self._catalog.forget(table)  # it may have been changed since it was read
            return plan_write(await self._catalog.table(session, table), rule.operation, rows, keys=rule.keys)

    async def _adopt(self) -> None:
        """Write what dead processes left."""
        for orphan in orphans(self._spool.root):
            try:
                await self._drain(orphan)
            except BaseException:
                orphan.leave()
                raise
            # Files first: were the note removed before them, a crash in between would write all of it again.
            orphan.remove()
            self._adopted_spools += 1
            await self._forget(orphan.spool_id)

    async def _drain(self, orphan: OrphanSpool) -> None:
        before = orphan.position
        stored = await self._database.fetchval("spool.position", orphan.spool_id)
        if stored is not None:
            orphan.release(max(stored, orphan.position))
        written = max(before, stored or 0)
        while records := orphan.take(rows=self._config.batch_rows, size=self._config.batch_bytes):
            async with self._turn:
                await self._write(orphan, records)
            self._adopted_rows += orphan.position - written
            written = orphan.position

    async def _forget(self, spool_id: UUID) -> None:
        try:
            await self._database.execute("spool.forget", spool_id)
        except OmniNodeError as error:
            self._last_error = f"{type(error).__name__}: {error}"  # one row too many in ingest_offset, no more


def _grouped(
    records: Iterable[Record], is_ordered: Callable[[str], bool]
) -> list[tuple[str, list[Mapping[str, object]]]]:
    """Rows by label and columns. Where order matters, rows of a label are only joined with their neighbours."""
    groups: list[tuple[str, list[Mapping[str, object]]]] = []
    open_groups: dict[tuple[str, tuple[str, ...]], list[Mapping[str, object]]] = {}
    latest: dict[str, tuple[str, ...]] = {}
    for record in records:
        row = orjson.loads(record.data)
        columns = tuple(row)
        if is_ordered(record.label) and latest.get(record.label, columns) != columns:
            open_groups.pop((record.label, latest[record.label]), None)
        latest[record.label] = columns
        group = open_groups.get((record.label, columns))
        if group is None:
            group = open_groups[record.label, columns] = []
            groups.append((record.label, group))
        group.append(row)
    return groups


def _state(error: OmniNodeError) -> str | None:
    return getattr(error, "sqlstate", None) or getattr(error.__cause__, "sqlstate", None)
