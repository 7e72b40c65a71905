"""From the spool into the tables, for as long as the process lives: batch after batch, and what dead processes left.

How one batch gets in exactly once is in `delivery`. A database that is away is tried again, with jitter, for as long
as it takes.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from omninode.core.clock import Clock, SystemClock
from omninode.core.concurrency import cancel_and_wait
from omninode.core.deadline import Deadline
from omninode.core.errors import OmniNodeError
from omninode.storage.delivery import Delivery, Source, TableRule
from omninode.storage.lanes import Lane
from omninode.storage.orphans import OrphanSpool, orphans
from omninode.storage.segment import Record
from omninode.storage.spool import Spool

if TYPE_CHECKING:
    from omninode.storage.database import Database

__all__ = ["FlusherConfig", "FlusherStatistics", "SpoolFlusher"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlusherConfig:
    """How often and how much. A batch ends at 1,000 rows or 1 MiB, whichever is first."""

    interval_s: float = 0.1
    batch_rows: int = 1000
    batch_bytes: int = 1024 * 1024
    adopt_every_s: float = 30.0
    expire_every_s: float = 600.0
    longest_wait_s: float = 5.0
    patience: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class FlusherStatistics:
    """Since the flusher was made. `failures` counts tries that wrote nothing; `last_error` is cleared by a success.

    `unreadable` rows of dead processes had been taken and were damaged or missing on disk.
    """

    written: int
    dead: int
    batches: int
    failures: int
    adopted_spools: int
    adopted_rows: int
    unreadable: int
    last_error: str | None


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
        self._config = config or FlusherConfig()
        self._clock = clock or SystemClock()
        self._delivery = Delivery(database, rules=rules, clock=self._clock)
        self._random = random.Random()  # noqa: S311 - jitter, not a secret
        self._turn = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._has_started = False
        self._written = self._dead = self._batches = self._failures = 0
        self._adopted_spools = self._adopted_rows = self._unreadable = 0
        self._failures_in_a_row: Counter[UUID | None] = Counter()
        self._last_error: str | None = None

    async def __aenter__(self) -> SpoolFlusher:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def start(self) -> None:
        """Begin writing in the background."""
        self._has_started = True
        if self._task is None:
            # In a context of its own: the deadline of the scope that opens us is not that of what outlives it.
            self._task = asyncio.create_task(self._run(), name="spool flusher", context=Context())

    async def close(self, *, deadline: Deadline | None = None, close_s: float = 5.0) -> int:
        """Stop, flush until `deadline`, close the spool; the rows that are left on disk. Twice is harmless."""
        task, self._task = self._task, None
        if task is not None:
            await cancel_and_wait([task])
        left = await self.flush(deadline or Deadline.after(close_s, clock=self._clock))
        # Interrupted is not away: what is old may only wait for its turn.
        is_away = self.is_failing or not self._has_started
        await asyncio.to_thread(self._close_spool, should_expire=left > 0 and is_away)
        for track in self._spool.tracks():
            if track.waiting == 0 and track.position:
                await self._forget(track.spool_id)
        return left

    @property
    def is_failing(self) -> bool:
        """Whether the last try wrote nothing because the database was away or refused."""
        return self._last_error is not None

    async def flush(self, deadline: Deadline) -> int:
        """Write what the spool holds now; the rows still waiting when the deadline came (0 when all are written)."""
        goals = [(track, track.position + track.waiting) for track in self._spool.tracks()]
        for track, goal in goals:
            while track.position < goal and not deadline.has_passed:
                try:
                    async with asyncio.timeout(deadline.remaining()):
                        moved = await self._step(track)
                except TimeoutError:
                    break
                if not moved:
                    await self._clock.sleep(deadline.cap(self._pause()))
        return sum(max(0, goal - track.position) for track, goal in goals)

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
            unreadable=self._unreadable,
            last_error=self._last_error,
        )

    async def _run(self) -> None:
        adopt_at = self._clock.monotonic()
        expire_at = adopt_at + self._config.expire_every_s
        while True:
            moved = False
            try:
                for track in self._spool.tracks():
                    moved |= await self._step(track)
                # After a failure our own next row shows whether the database is back; without one, adopting does.
                can_adopt = not self.is_failing or not self._spool.waiting
                if self._clock.monotonic() >= adopt_at and can_adopt:
                    await self._adopt()
                    self._failures_in_a_row.clear()
                    self._last_error = None
                    if self._after_adoption is not None:
                        await self._after_adoption()
                    adopt_at = self._clock.monotonic() + self._config.adopt_every_s
                if self.is_failing and self._clock.monotonic() >= expire_at:
                    expire_at = self._clock.monotonic() + self._config.expire_every_s
                    await asyncio.to_thread(self._spool.expire, now=self._clock.now().timestamp())
            except Exception as error:  # noqa: BLE001 - border: background loop
                self._failed(error)
            if not moved or self._spool.waiting < self._config.batch_rows:
                await self._clock.sleep(self._pause())

    def _pause(self) -> float:
        if not self.is_failing:
            return self._config.interval_s
        most = max(self._failures_in_a_row.values(), default=0)
        ceiling = min(self._config.longest_wait_s, self._config.interval_s * 2 ** min(most, 16))
        return self._random.uniform(self._config.interval_s / 2, ceiling)

    async def _step(self, source: Source) -> bool:
        """Write the next batch; whether anything was written. A failure is counted, and the batch stays."""
        async with self._turn:
            records = source.take(rows=self._config.batch_rows, size=self._config.batch_bytes)
            if not records:
                return False
            try:
                await self._write(source, records)
            except OmniNodeError as error:
                self._failed(error, source.spool_id)
                return False
            finally:
                source.put_back()
            self._failures_in_a_row.pop(source.spool_id, None)
            self._last_error = None
            return True

    def _failed(self, error: Exception, spool_id: UUID | None = None) -> None:
        self._failures += 1
        self._failures_in_a_row[spool_id] += 1
        self._last_error = f"{type(error).__name__}: {error}"

    async def _write(self, source: Source, records: Sequence[Record]) -> None:
        # Failures are counted for each track of our own, and for what is adopted together: one that fails for a reason
        # of its own comes to its last try although another succeeds meanwhile.
        own = self._failures_in_a_row[source.spool_id] or self._failures_in_a_row[None]
        delivered = await self._delivery.write(source, records, is_last_try=own >= self._config.patience)
        self._written += delivered.written
        self._dead += delivered.dead
        self._batches += 1

    def _close_spool(self, *, should_expire: bool) -> None:
        if should_expire:
            self._spool.expire(now=self._clock.now().timestamp())
        self._spool.close()

    async def _adopt(self) -> None:
        """Write what dead processes left."""
        for orphan in orphans(self._spool.root):
            try:
                await self._drain(orphan)
            except BaseException:
                orphan.leave()
                raise
            self._unreadable += orphan.unreadable
            # Files first: were the note removed before them, a crash in between would write all of it again.
            orphan.remove()
            self._adopted_spools += 1
            await self._forget(orphan.spool_id)

    async def _drain(self, orphan: OrphanSpool) -> None:
        stored = await self._database.fetchval("spool.position", orphan.spool_id, lane=Lane.INGEST)
        if stored is not None:
            orphan.release(max(stored, orphan.position))
        while records := orphan.take(rows=self._config.batch_rows, size=self._config.batch_bytes):
            start = orphan.position
            async with self._turn:
                await self._write(orphan, records)
            self._adopted_rows += orphan.position - start

    async def _forget(self, spool_id: UUID) -> None:
        try:
            await self._database.execute("spool.forget", spool_id, lane=Lane.INGEST)
        except OmniNodeError as error:
            self._last_error = f"{type(error).__name__}: {error}"  # one row too many in ingest_offset, no more
