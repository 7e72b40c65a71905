"""What the database needs from time to time while a runtime is open.

Children made ahead, old rows gone, rollups merged; strays told, and too few connections for all pools.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from contextvars import Context
from datetime import timedelta

from omninode.core.clock import Clock
from omninode.core.concurrency import cancel_and_wait
from omninode.core.deadline import Deadline, within
from omninode.core.errors import OmniNodeError
from omninode.core.events import EventSink, MetricRecorded
from omninode.storage.advisor import find_flips
from omninode.storage.capacity import read_capacity
from omninode.storage.database import Database
from omninode.storage.partitions import make_children, strays
from omninode.storage.retention import PruneReport, prune
from omninode.storage.rollup import merge_closed
from omninode.storage.workload import TimesLog

__all__ = ["Upkeep"]

_log = logging.getLogger(__name__)
# A command that lives for seconds does its part too, but not before its own work has begun.
_FIRST_S = 2.0
_EVERY_S = 3600.0
_AGAIN_S = 300.0
_LAST_SAVE_S = 1.0


class Upkeep:
    """Looks after the tables in the background, once an hour; what fails is logged and tried again in five minutes.

    Any number of processes may: each step is done by one of them at a time.
    """

    def __init__(self, database: Database, days: Mapping[str, float], *, sink: EventSink, clock: Clock) -> None:
        self._database = database
        self._days = days
        self._sink = sink
        self._clock = clock
        self._times = TimesLog(database)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin in the background; doing it twice is harmless."""
        if self._task is None:
            # In a context of its own: the deadline of the scope that opens us is not that of what outlives it.
            self._task = asyncio.create_task(self._run(), name="database upkeep", context=Context())

    async def close(self) -> None:
        """Stop; a step that is under way is rolled back. Doing it twice is harmless."""
        task, self._task = self._task, None
        if task is None:
            return
        await cancel_and_wait([task])
        with suppress(OmniNodeError):  # a count that is lost is no reason to wait
            async with within(Deadline.after(_LAST_SAVE_S, clock=self._clock), doing="saving statement times"):
                await self._times.save()

    async def look(self) -> PruneReport:
        """Do all of it once; raises DatabaseError when the database is away or refuses."""
        await self._check_capacity()
        now = self._clock.now()
        await make_children(self._database, now, keep=self._late_rows())
        await self._times.save()
        await self._tell_flips()
        report = await prune(self._database, self._days, now=now)
        await merge_closed(self._database, now)
        async with self._database.acquire(doing="stray rows") as session:
            stray = await strays(session)
        self._sink.emit(MetricRecorded(metric="stray_rows", value=float(sum(stray.values())), labels={"gauge": True}))
        if stray:
            _log.warning("rows whose ids tell no time, or one to come: %s; look at the clock of who wrote them", stray)
        if report.dropped or report.deleted or report.postponed:
            _log.info(
                "retention: dropped %s, deleted %s, postponed %s", report.dropped, report.deleted, report.postponed
            )
        return report

    async def _tell_flips(self) -> None:
        flips = [flip for flip in await find_flips(self._database) if flip.is_dearer]
        self._sink.emit(MetricRecorded(metric="plan_flips", value=float(len(flips)), labels={"gauge": True}))
        for flip in flips:
            _log.warning(
                "statement %s is run in another way, expected to cost %.0f instead of %.0f: %s instead of %s",
                *(flip.statement, flip.cost_after, flip.cost_before, flip.after, flip.before),
            )

    async def _check_capacity(self) -> None:
        capacity = await read_capacity(self._database)
        if capacity is None:
            return
        self._sink.emit(
            MetricRecorded(metric="connections_missing", value=float(capacity.missing), labels={"gauge": True})
        )
        if capacity.missing:
            _log.warning("the database server has too few connections: %s", capacity.told())

    async def _run(self) -> None:
        pause_s = _FIRST_S
        while True:
            await self._clock.sleep(pause_s)
            try:
                await self.look()
            except OmniNodeError as error:
                _log.warning("the upkeep of the database failed and is tried again: %s", error.message)
                pause_s = _AGAIN_S
            except Exception as error:  # noqa: BLE001 - border: background loop
                _log.error("the upkeep of the database failed and is tried again", exc_info=error)
                pause_s = _AGAIN_S
            else:
                pause_s = _EVERY_S

    def _late_rows(self) -> Mapping[str, timedelta]:
        return {table: timedelta(days=days) for table, days in self._days.items() if days > 0}
