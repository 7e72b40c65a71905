"""How soon an event is a row that a dashboard can read, and what telling it costs the one who tells."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from uuid import UUID

from omninode.bench.measure import Spread, interleave
from omninode.bench.scenario import Figure, Findings, Scenario, at_most
from omninode.bench.surroundings import Surroundings
from omninode.core.clock import SystemClock
from omninode.core.events import MetricRecorded
from omninode.core.ids import uuid7
from omninode.runtime.telemetry import TelemetryRoad
from omninode.storage.database import Database
from omninode.storage.flusher import FlusherConfig
from omninode.storage.spool import Spool
from omninode.telemetry.bus import EventBus

__all__ = ["SCENARIO"]

_POLL_S = 0.005
_PATIENCE_S = 30.0
_BURST = 2000
_TOLD_A_ROUND = 20


class _Arms:
    """An event through the road, and a row written by the one who has it."""

    def __init__(self, bus: EventBus, database: Database) -> None:
        self._bus = bus
        self._database = database
        self._clock = SystemClock()

    async def visible(self) -> float:
        """Seconds from emitting one event to its row being there."""
        return await self._until_visible(self._emit(1))

    async def burst_visible(self) -> float:
        """Seconds from the first of a burst to the row of the last."""
        return await self._until_visible(self._emit(_BURST))

    async def told(self) -> float:
        """Seconds that telling costs the caller."""
        before = time.perf_counter()
        self._emit(_TOLD_A_ROUND)
        return time.perf_counter() - before

    async def written(self) -> float:
        """Seconds that writing the same rows itself costs the caller."""
        before = time.perf_counter()
        for _ in range(_TOLD_A_ROUND):
            event = MetricRecorded(metric="bench_direct_ms", value=1.0)
            await self._database.execute(
                "bench_rows.insert", event.id, self._clock.now(), uuid7(), "bench", event.metric, event.value, True, {}
            )
        return time.perf_counter() - before

    def _emit(self, count: int) -> tuple[UUID, float]:
        began = time.perf_counter()
        for _ in range(count):
            event = MetricRecorded(metric="bench_event_ms", value=1.0)
            self._bus.emit(event)
        return event.id, began

    async def _until_visible(self, emitted: tuple[UUID, float]) -> float:
        identifier, began = emitted
        while not await self._database.fetchval("bench_rows.is_visible", identifier):
            if time.perf_counter() - began > _PATIENCE_S:
                raise RuntimeError(f"an event was no row after {_PATIENCE_S:.0f} s")
            await self._clock.sleep(_POLL_S)
        return time.perf_counter() - began


async def _run(room: Surroundings) -> Findings:
    database = await room.database()
    async with AsyncExitStack() as stack:
        bus = EventBus()
        directory = room.directory / "analytics"
        spool = Spool(directory / "spool")
        road = TelemetryRoad(room.settings(), directory, spool=spool, bus=bus, database=database, clock=SystemClock())
        await stack.enter_async_context(road)
        road.begin_flushing()
        arms = _Arms(bus, database)
        seen = await interleave({"row": arms.visible}, rounds=room.scaled(30), budget_s=room.budget_s(5))
        burst = await interleave({"row": arms.burst_visible}, rounds=room.scaled(5), budget_s=room.budget_s(4))
        cost = await interleave(
            {"told": arms.told, "written": arms.written}, rounds=room.scaled(20), budget_s=room.budget_s(3)
        )
        lost = road.losses()
    await database.execute("bench_rows.clear")
    interval_s = FlusherConfig().interval_s
    to_limit = Spread.of([seconds / interval_s for seconds in seen.times["row"]])
    return Findings(
        figures=(
            Figure(
                name="event to visible row", spread=seen.spread("row"), unit="s", target=at_most(2), takes_worst=True
            ),
            Figure(name="event to visible row / flush interval", spread=to_limit),
            Figure(
                name=f"the last of {_BURST:,} events at once to visible row",
                spread=burst.spread("row"),
                unit="s",
                target=at_most(2),
                takes_worst=True,
            ),
            Figure(
                name="cost to the caller: writing the row / telling the event", spread=cost.ratio("written", "told")
            ),
        ),
        notes=(
            f"flush interval {interval_s:g} s, and each event comes just after a flush: the longest wait; {'; '.join(lost) or 'no event was lost'}",
            "not yet: the latency of a panel at 2 million spans",
        ),
    )


SCENARIO = Scenario(
    name="analytics",
    claim="analytics in real time",
    compared="an event through bus, spool and flusher against a row written by the caller",
    limit="the flush interval",
    run=_run,
)
