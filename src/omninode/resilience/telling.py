"""How parts tell of what happens often, without an event for each time.

A target that is refused a thousand calls a second must not fill the store with a thousand rows a second. A `Spell` is
told when it begins, now and then while it lasts and when it is over; a `Level` when it has moved far enough. Both are
of a target, which many runs share, so their events carry no run.
"""

from __future__ import annotations

from typing import Literal

from omninode.core.clock import Clock
from omninode.core.events import EventSink, MetricRecorded, shielded

__all__ = ["Level", "Spell"]

# A spell is over after so long without; while it lasts it is told again so often.
_CALM_S = 1.0
_EVERY_S = 10.0

Stage = Literal["began", "lasts", "ended"]


class Spell:
    """A stretch of time in which `part` of the policy called `name` keeps doing something unusual, such as refusing.

    Emits `MetricRecorded` named `metric`. Its value is how often it happened since the last such event, so the values
    add up to the whole; label `stage` is `began`, `lasts` (every ten seconds) or `ended` (after a second without).
    Nothing waits for the end: it is told by the next call that passes.
    """

    __slots__ = ("_clock", "_labels", "_last", "_metric", "_sink", "_told_at", "_untold", "is_on")

    def __init__(self, sink: EventSink | None, clock: Clock, *, metric: str, name: str, part: str) -> None:
        self._sink = shielded(sink)
        self._clock = clock
        self._metric = metric
        self._labels = {"policy": name, "part": part}
        self.is_on = False
        self._untold = 0
        self._last = self._told_at = 0.0

    def strike(self) -> None:
        """It happened once more."""
        if self._sink is None:
            return
        now = self._clock.monotonic()
        if self.is_on and now - self._last >= _CALM_S:
            self._tell("ended", now)
        self._untold += 1
        self._last = now
        if not self.is_on:
            self._tell("began", now)
        elif now - self._told_at >= _EVERY_S:
            self._tell("lasts", now)

    def ease(self) -> None:
        """It did not happen this time; to be called while `is_on`, and harmless otherwise."""
        if self.is_on and (now := self._clock.monotonic()) - self._last >= _CALM_S:
            self._tell("ended", now)

    def _tell(self, stage: Stage, now: float) -> None:
        self.is_on = stage != "ended"
        value, self._untold, self._told_at = float(self._untold), 0, now
        if self._sink is not None:
            labels = {**self._labels, "stage": stage}
            self._sink.emit(MetricRecorded(metric=self._metric, value=value, ok=not self.is_on, labels=labels))


class Level:
    """A value that a part has found out, such as a limit; told once it is `step` (a share) away from what was told."""

    __slots__ = ("_labels", "_metric", "_sink", "_step", "_told")

    def __init__(
        self, sink: EventSink | None, *, metric: str, name: str, part: str, step: float, start: float | None = None
    ) -> None:
        self._sink = shielded(sink)
        self._metric = metric
        self._labels = {"policy": name, "part": part}
        self._step = step
        self._told = start

    def moved(self, value: float) -> None:
        """It is `value` now."""
        if self._sink is None or (self._told is not None and abs(value - self._told) < self._step * self._told):
            return
        self._told = value
        self._sink.emit(MetricRecorded(metric=self._metric, value=value, labels=dict(self._labels)))
