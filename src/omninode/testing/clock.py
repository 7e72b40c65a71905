"""Clocks for tests: time that moves only when told to."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from datetime import UTC, datetime, timedelta

__all__ = ["FakeClock"]

_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class FakeClock:
    """A clock that stands still until it is advanced.

    With `auto_advance` a `sleep` moves the clock by itself and returns after one turn of the loop, so that code with
    waits runs through at once; `slept` then lists the waits. Without it, a sleeper wakes when `advance` passes it.
    """

    def __init__(self, *, start: float = 1000.0, auto_advance: bool = False) -> None:
        self._time = start
        self._start = start
        self._auto_advance = auto_advance
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self.slept: list[float] = []

    def monotonic(self) -> float:
        """Seconds on this clock."""
        return self._time

    def now(self) -> datetime:
        """A moment in UTC that moves with `monotonic`."""
        return _EPOCH + timedelta(seconds=self._time - self._start)

    async def sleep(self, seconds: float) -> None:
        """Wait on this clock; `slept` records the wait."""
        self.slept.append(seconds)
        if self._auto_advance:
            self._time += max(0.0, seconds)
            await asyncio.sleep(0)
            return
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._time + seconds, next(self._order), future))
        await future

    def advance(self, seconds: float) -> None:
        """Move the clock on and wake every sleeper whose time has come."""
        self._time += seconds
        while self._sleepers and self._sleepers[0][0] <= self._time:
            _, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)
