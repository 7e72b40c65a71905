"""Counters and distributions by name and labels, for whoever shows figures since the start (`/metrics`, `top`)."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass

from omninode.core.errors import InvalidArgumentError
from omninode.telemetry.sketch import Sketch

__all__ = ["Counted", "Distribution", "MetricRegistry", "MetricsReading"]

LabelSet = tuple[tuple[str, str], ...]
_Key = tuple[str, LabelSet]
_OVERFLOW: LabelSet = (("overflow", "true"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """A counter's total since the start."""

    name: str
    labels: Mapping[str, str]
    total: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """What was observed since the start, in the metric's own unit; percentiles within one per cent."""

    name: str
    labels: Mapping[str, str]
    count: int
    total: float
    p50: float
    p95: float
    p99: float
    largest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsReading:
    """All series, sorted by name and labels; `overflowed` counts what found no series of its own."""

    counters: tuple[Counted, ...]
    distributions: tuple[Distribution, ...]
    overflowed: int


class MetricRegistry:
    """Series by name and labels; safe from any thread.

    Labels that vary without end (a run's id) would fill memory, so beyond `max_series` a name's further label sets
    share one series labelled `overflow`.
    """

    def __init__(self, *, max_series: int = 2_000) -> None:
        if max_series < 1:
            raise InvalidArgumentError(f"max_series is {max_series}; keep at least one")
        self._max_series = max_series
        self._counters: dict[_Key, float] = {}
        self._sketches: dict[_Key, Sketch] = {}
        self._overflowed = 0
        self._lock = threading.Lock()

    def count(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Add `amount`, zero or more, to a counter."""
        if not amount >= 0:
            raise InvalidArgumentError(f"counter {name!r} cannot grow by {amount}; counters only go up")
        with self._lock:
            key = self._key(name, labels, self._counters)
            self._counters[key] = self._counters.get(key, 0.0) + amount

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Add `value` to a distribution."""
        with self._lock:
            key = self._key(name, labels, self._sketches)
            self._sketches.setdefault(key, Sketch()).add(value)

    def read(self) -> MetricsReading:
        """Everything as it is now."""
        with self._lock:
            return MetricsReading(
                counters=tuple(
                    Counted(name=name, labels=dict(labels), total=total)
                    for (name, labels), total in sorted(self._counters.items())
                ),
                distributions=tuple(_distribution(*key, self._sketches[key]) for key in sorted(self._sketches)),
                overflowed=self._overflowed,
            )

    def _key(self, name: str, labels: Mapping[str, str], series: Mapping[_Key, object]) -> _Key:
        key = (name, tuple(sorted(labels.items())))
        if key in series or len(series) < self._max_series:
            return key
        self._overflowed += 1
        return name, _OVERFLOW


def _distribution(name: str, labels: LabelSet, sketch: Sketch) -> Distribution:
    return Distribution(
        name=name,
        labels=dict(labels),
        count=sketch.count,
        total=sketch.total,
        p50=sketch.quantile(0.5) or 0.0,
        p95=sketch.quantile(0.95) or 0.0,
        p99=sketch.quantile(0.99) or 0.0,
        largest=sketch.largest,
    )
