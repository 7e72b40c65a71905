"""The road from events to rows in an open system, and what is lost on it.

bus > writer > spool (a file) > flusher > tables
bus > log streams
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from omninode.core.clock import Clock
from omninode.core.deadline import Deadline
from omninode.monitoring.writer import EventWriter
from omninode.runtime.settings import Settings
from omninode.storage.database import Database
from omninode.storage.flusher import SpoolFlusher
from omninode.storage.orphans import UNREADABLE
from omninode.storage.spool import Spool
from omninode.telemetry.bus import EventBus
from omninode.telemetry.logs import LogWriter
from omninode.telemetry.streams import configure_logs

__all__ = ["TelemetryRoad"]

_CLOSE_S = 5.0
_CLOSE_LATE_S = 0.2
# Whoever pressed Ctrl-C wants the prompt back; rows that do not make it wait on disk.
_CLOSE_INTERRUPTED_S = 0.5
# A server that is away is given this long to come back; an embedded one is started again meanwhile.
_SETTLE_FAILING_S = 2.0

_MEASUREMENTS = frozenset({"performance_metrics", "agent_performance", "alerts"})
# Libraries whose warnings belong into our log streams rather than on the user's screen.
_CAPTURED = ("asyncio", "aiohttp", "asyncpg", "uvicorn.error")


class TelemetryRoad:
    """Open it with `async with`; flushing begins when there is a database. Leaving drains what is on its way."""

    def __init__(
        self,
        settings: Settings,
        directory: Path,
        *,
        spool: Spool,
        bus: EventBus,
        database: Database,
        clock: Clock,
        after_adoption: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._bus = bus
        self._logs = configure_logs(directory / "logs", level=settings.log_level)
        self.spool = spool
        # Switched off, what a run did is still recorded; only the measurements about it are not.
        without = frozenset() if settings.performance_monitoring_enabled else _MEASUREMENTS
        self.writer = EventWriter(bus, self.spool, without=without)
        self.flusher = SpoolFlusher(self.spool, database, clock=clock, after_adoption=after_adoption)
        self._log_writer = LogWriter(bus, self._logs)
        for library in _CAPTURED:
            self._logs.capture(library)
        self._stack = AsyncExitStack()
        # Without a database there is nothing to wait for: the rows are on disk.
        self._close_s = 0.0
        self._unsettled = 0

    async def __aenter__(self) -> Self:
        # Closed in reverse: no more events, then the last rows to the spool, the spool to the tables, the files.
        self._stack.callback(self._logs.close)
        self._stack.callback(self.spool.close)
        self._stack.push_async_callback(self._close_flusher)
        self._stack.callback(self.writer.close)
        self._stack.callback(self._log_writer.close)
        await self._stack.enter_async_context(self._bus)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def begin_flushing(self) -> None:
        """Write what the spool holds, and what comes, to the tables."""
        self._close_s = _CLOSE_S
        self.flusher.start()

    async def settle(self, deadline: Deadline) -> None:
        """Return when everything told so far is in the tables, or at the deadline."""
        await self._bus.drain(deadline)
        if not self._close_s:
            self._unsettled = self.spool.waiting
            return
        if self.flusher.is_failing:
            deadline = Deadline.after(_SETTLE_FAILING_S, clock=deadline.clock).narrowed(deadline)
        # Not what waits afterwards: measurements keep coming, and closing writes them.
        self._unsettled = await self.flusher.flush(deadline)
        if self._unsettled:
            # The database had its chance; nobody should wait for it twice at the end.
            self._close_s = _CLOSE_LATE_S

    def hurry(self) -> None:
        """Close soon from now on, whatever is left on disk."""
        self._close_s = min(self._close_s, _CLOSE_INTERRUPTED_S)

    async def _close_flusher(self) -> None:
        patience_s = min(self._close_s, _CLOSE_LATE_S) if self.flusher.is_failing else self._close_s
        await self.flusher.close(close_s=patience_s)

    def losses(self) -> tuple[str, ...]:
        """What had not arrived when last settled, or never will, in words; empty when all is well."""
        waiting, dropped = self._unsettled, sum(self.dropped().values())
        found = []
        if waiting:
            found.append(f"{waiting} telemetry rows wait on disk until omninode next reaches this database")
        if self._bus.statistics().dropped_total:
            found.append(f"{self._bus.statistics().dropped_total} events were dropped, the queue was full")
        # What the spool refused it has counted itself.
        lost = dropped + sum(self.writer.statistics().failed.values())
        if lost:
            found.append(f"{lost} telemetry rows were lost")
        if (trouble := self.spool.statistics().disk_error) is not None:
            found.append(f"rows that wait are not safe on disk: {trouble}")
        if self.flusher.statistics().dead:
            found.append(f"{self.flusher.statistics().dead} rows were refused and are in dead_letters")
        return tuple(found)

    def dropped(self) -> Mapping[str, int]:
        """Rows that will never be in the database, by table; "(unreadable)" ones were damaged on disk."""
        counts = Counter(self.spool.statistics().dropped)
        counts.update({UNREADABLE: self.flusher.statistics().unreadable})
        return dict(+counts)

    def totals(self) -> Mapping[str, float]:
        """Counters that only grow, for alerts."""
        dropped = sum(self.dropped().values()) + sum(self.writer.statistics().failed.values())
        return {"telemetry_dropped": float(self._bus.statistics().dropped_total + dropped)}
