"""The live feed: a bounded ring of entries that every viewer reads at its own place, and the numbers of the last minute.

A viewer costs one coroutine and no query. What a slow viewer missed is counted and said, never kept for it.
"""

from __future__ import annotations

import asyncio
import math
import uuid
from collections import OrderedDict, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from omninode.core.clock import Clock, SystemClock
from omninode.core.events import Event
from omninode.server.entries import Entry, entry_of_event

__all__ = ["LiveFeed", "LiveStatistics", "Pulse"]

_WINDOW_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """The model calls of the last minute, without those that were stopped, and what goes on now.

    Percentiles are None without a call.
    """

    window_s: int
    calls: int
    failed: int
    p50_ms: int | None
    p95_ms: int | None
    cost_uusd: int
    unpriced: int
    running: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveStatistics:
    """What became of the entries since the start; `overwritten` left the ring to make room."""

    entries: int
    overwritten: int
    viewers: int
    missed: int


class LiveFeed:
    """An event consumer and the source of every live stream. Not for use from other threads."""

    def __init__(self, *, capacity: int = 2048, clock: Clock | None = None) -> None:
        self.boot = uuid.uuid4().hex[:8]
        self._clock = clock or SystemClock()
        self._ring: deque[tuple[int, Entry]] = deque(maxlen=capacity)
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._calls: deque[tuple[float, Entry]] = deque(maxlen=10_000)
        self._running: OrderedDict[str, None] = OrderedDict()
        self._last = 0
        self._missed = 0
        self._arrived = asyncio.Event()
        self.viewers = 0
        self.is_closed = False

    def consume(self, event: Event) -> None:
        """Take an event of this process."""
        entry = entry_of_event(event)
        if entry is not None:
            self.add(entry)

    def add(self, entry: Entry) -> bool:
        """Take an entry, from wherever; False when it is known already (an event, and later its row)."""
        key = entry["key"]
        if key in self._seen:
            return False
        self._seen[key] = None
        if len(self._seen) > 4 * (self._ring.maxlen or 1):
            self._seen.popitem(last=False)
        self._last += 1
        self._ring.append((self._last, entry))
        self._count(entry)
        self._arrived.set()
        return True

    def since(self, cursor: int) -> tuple[list[Entry], int, int]:
        """Entries after `cursor`, the cursor after them, and how many between were overwritten before."""
        first = self._ring[0][0] if self._ring else self._last + 1
        missed = max(0, first - cursor - 1)
        self._missed += missed
        return [entry for number, entry in self._ring if number > cursor], self._last, missed

    def start(self, last_event_id: str | None, *, history: int = 60) -> int:
        """The cursor for a viewer: where it left off, or `history` entries back."""
        boot, _, number = (last_event_id or "").partition(".")
        if boot == self.boot and number.isdigit():
            return min(int(number), self._last)
        return max(0, self._last - min(history, len(self._ring)))

    async def changed(self, cursor: int, *, timeout_s: float) -> None:
        """Return when there is something after `cursor`, when the feed closes, or after `timeout_s`."""
        if self._last > cursor or self.is_closed:
            return
        self._arrived.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._arrived.wait()

    def recent(self, limit: int) -> Sequence[Entry]:
        """The last entries, newest first."""
        return [entry for _, entry in list(self._ring)[-limit:]][::-1]

    def pulse(self) -> Pulse:
        """The last minute, as far as this process saw it."""
        horizon = self._clock.now().timestamp() - _WINDOW_S
        while self._calls and self._calls[0][0] < horizon:
            self._calls.popleft()
        calls = [entry for at, entry in self._calls if at >= horizon and entry["state"] != "stopped"]
        durations = sorted(entry["ms"] for entry in calls)
        costs = [entry.get("cost_uusd") for entry in calls if entry["state"] == "ok"]
        return Pulse(
            window_s=int(_WINDOW_S),
            calls=len(calls),
            failed=sum(entry["state"] != "ok" for entry in calls),
            p50_ms=_rank(durations, 0.5),
            p95_ms=_rank(durations, 0.95),
            cost_uusd=sum(cost for cost in costs if cost is not None),
            unpriced=sum(cost is None for cost in costs),
            running=len(self._running),
        )

    def statistics(self) -> LiveStatistics:
        """Counts since the start."""
        return LiveStatistics(
            entries=self._last,
            overwritten=self._last - len(self._ring),
            viewers=self.viewers,
            missed=self._missed,
        )

    def close(self) -> None:
        """End every stream; doing it twice is harmless."""
        self.is_closed = True
        self._arrived.set()

    def _count(self, entry: Entry) -> None:
        kind, run_id = entry["kind"], entry["run_id"]
        if kind == "call":
            self._calls.append((entry["at_ms"] / 1000, entry))
        elif kind == "run_started" and run_id and f"run_finished:{run_id}" not in self._seen:
            self._running[run_id] = None
            if len(self._running) > 1000:
                self._running.popitem(last=False)
        elif kind == "run_finished" and run_id:
            self._running.pop(run_id, None)


def _rank(ordered: Sequence[int], quantile: float) -> int | None:
    return ordered[max(0, math.ceil(quantile * len(ordered)) - 1)] if ordered else None
