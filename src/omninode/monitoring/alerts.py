"""Alerts: thresholds watched over time, told when they begin to fire and when they are over."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

from omninode.core.clock import Clock, SystemClock
from omninode.core.concurrency import cancel_and_wait
from omninode.core.errors import InvalidArgumentError
from omninode.core.events import AlertChanged, EventSink
from omninode.monitoring.monitor import PerformanceMonitor
from omninode.monitoring.thresholds import DEFAULT_THRESHOLDS, Threshold

__all__ = ["AlertBook", "AlertStatus", "AlertWatch", "WatchStatistics"]

Figures = Callable[[], Mapping[str, float]]

# A total "grew recently" when it grew within so many seconds.
_RECENT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertStatus:
    """One threshold now: the last value seen (None when the figure did not exist), and since when it is beyond."""

    threshold: Threshold
    state: Literal["calm", "pending", "firing"]
    value: float | None
    since_s: float


@dataclass(slots=True)
class _Watched:
    threshold: Threshold
    beyond_since: float | None = None
    calm_since: float | None = None
    is_firing: bool = False
    value: float | None = None
    worst: float = 0.0


class AlertBook:
    """The state of each threshold; `judge` takes figures and a moment and says what changed."""

    def __init__(self, thresholds: Iterable[Threshold] = DEFAULT_THRESHOLDS) -> None:
        """Raises InvalidArgumentError when two thresholds would raise alerts of one name."""
        self._watched: dict[str, _Watched] = {}
        for threshold in thresholds:
            if threshold.alert in self._watched:
                raise InvalidArgumentError(f"two alerts are named {threshold.alert!r}; give one of them a name")
            self._watched[threshold.alert] = _Watched(threshold)

    def judge(self, figures: Mapping[str, float], now_s: float) -> tuple[AlertChanged, ...]:
        """What began to fire and what was resolved at `now_s` (any monotonic clock).

        A figure that does not exist, or whose guard does not hold, counts as calm.
        """
        changes = (_judged(watched, figures, now_s) for watched in self._watched.values())
        return tuple(change for change in changes if change is not None)

    def status(self, now_s: float) -> tuple[AlertStatus, ...]:
        """Every threshold as it was last judged."""
        return tuple(
            AlertStatus(
                threshold=watched.threshold,
                state="firing" if watched.is_firing else "calm" if watched.beyond_since is None else "pending",
                value=watched.value,
                since_s=0.0 if watched.beyond_since is None else now_s - watched.beyond_since,
            )
            for watched in self._watched.values()
        )


def _judged(watched: _Watched, figures: Mapping[str, float], now_s: float) -> AlertChanged | None:
    threshold = watched.threshold
    value = watched.value = _figure(threshold, figures)
    if value is not None and threshold.is_beyond(value):
        watched.calm_since = None
        if watched.beyond_since is None:
            watched.beyond_since, watched.worst = now_s, value
        watched.worst = max(watched.worst, value) if threshold.above is not None else min(watched.worst, value)
        if watched.is_firing or now_s - watched.beyond_since < threshold.for_s:
            return None
        watched.is_firing = True
        return _changed(watched, "firing", value, f"{_passed(threshold, value)} for {threshold.for_s:g} s")
    if not watched.is_firing:
        watched.beyond_since = None
        return None
    if value is not None and not threshold.is_calm(value):
        watched.calm_since = None
        return None
    if watched.calm_since is None:
        watched.calm_since = now_s
    if now_s - watched.calm_since < threshold.calm_s:
        return None
    since = now_s - (watched.beyond_since if watched.beyond_since is not None else now_s)
    watched.is_firing, watched.beyond_since, watched.calm_since = False, None, None
    ended = "does not exist any more" if value is None else f"is back at {value:g}"
    message = f"{threshold.metric} {ended}, after {since:.0f} s; the worst was {watched.worst:g}"
    return _changed(watched, "resolved", threshold.limit if value is None else value, message)


def _figure(threshold: Threshold, figures: Mapping[str, float]) -> float | None:
    if threshold.guard is not None and figures.get(threshold.guard[0], 0.0) < threshold.guard[1]:
        return None
    value = figures.get(threshold.metric)
    return None if value is None or math.isnan(value) else value


def _passed(threshold: Threshold, value: float) -> str:
    side = "above" if threshold.above is not None else "below"
    return f"{threshold.metric} is {value:g}, {side} {threshold.limit:g}"


def _changed(watched: _Watched, state: Literal["firing", "resolved"], value: float, message: str) -> AlertChanged:
    return AlertChanged(
        alert=watched.threshold.alert,
        state=state,
        severity=watched.threshold.severity,
        metric=watched.threshold.metric,
        value=value,
        threshold=watched.threshold.limit,
        message=message,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchStatistics:
    """Evaluations made and failed since the start, and the names of the alerts that fire now."""

    evaluations: int
    failed: int
    firing: tuple[str, ...]
    last_error: str | None


class AlertWatch:
    """Judges the monitor's snapshot every `interval_s` and emits `AlertChanged`; open it with `async with`.

    `totals` gives counters that only grow; each becomes the figure `<name>_recently`, its growth within the last
    minute: `totals=lambda: {"telemetry_dropped": bus.statistics().dropped_total}`.
    """

    def __init__(
        self,
        monitor: PerformanceMonitor,
        sink: EventSink,
        *,
        thresholds: Iterable[Threshold] = DEFAULT_THRESHOLDS,
        totals: Figures | None = None,
        clock: Clock | None = None,
        interval_s: float = 5.0,
    ) -> None:
        if interval_s <= 0:
            raise InvalidArgumentError(f"interval_s is {interval_s}; it must be above zero")
        self._monitor = monitor
        self._sink = sink
        self._book = AlertBook(thresholds)
        self._totals = totals
        self._clock = clock or SystemClock()
        self._interval_s = interval_s
        # What was counted before the watch began is recent too, hence the empty first entry.
        self._past: deque[tuple[float, Mapping[str, float]]] = deque([(self._clock.monotonic(), {})], maxlen=1024)
        self._evaluations = self._failed = 0
        self._last_error: str | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def start(self) -> None:
        """Begin to watch, in a task of the running loop; doing it twice is harmless."""
        if self._task is None:
            self._task = asyncio.create_task(self._watch(), name="omninode-alerts")

    async def close(self) -> None:
        """Stop watching; doing it twice is harmless."""
        task, self._task = self._task, None
        if task is not None:
            await cancel_and_wait([task])

    def evaluate(self) -> tuple[AlertChanged, ...]:
        """Judge the figures of this moment, emit what changed and return it."""
        now_s = self._clock.monotonic()
        self._evaluations += 1
        changes = self._book.judge(self._monitor.snapshot().values() | self._growth(now_s), now_s)
        for change in changes:
            self._sink.emit(change)
        return changes

    def status(self) -> tuple[AlertStatus, ...]:
        """Every threshold as it was last judged."""
        return self._book.status(self._clock.monotonic())

    def statistics(self) -> WatchStatistics:
        """Counts since the watch was made."""
        return WatchStatistics(
            evaluations=self._evaluations,
            failed=self._failed,
            firing=tuple(status.threshold.alert for status in self.status() if status.state == "firing"),
            last_error=self._last_error,
        )

    async def _watch(self) -> None:
        while True:
            try:
                self.evaluate()
            except Exception as error:  # noqa: BLE001 - border: background loop
                self._failed += 1
                self._last_error = f"{type(error).__name__}: {error}"
            await self._clock.sleep(self._interval_s)

    def _growth(self, now_s: float) -> dict[str, float]:
        if self._totals is None:
            return {}
        totals = dict(self._totals())
        while len(self._past) > 1 and self._past[1][0] <= now_s - _RECENT_S:
            self._past.popleft()
        before = self._past[0][1]
        self._past.append((now_s, totals))
        return {f"{name}_recently": total - before.get(name, 0.0) for name, total in totals.items()}
