"""When a figure is worth an alert."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from omninode.core.errors import InvalidArgumentError

__all__ = ["DEFAULT_THRESHOLDS", "Severity", "Threshold"]

Severity = Literal["info", "warning", "critical"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """One limit on one figure of `Snapshot.values()`; exactly one of `above` and `below` is set.

    An alert fires when the figure has been beyond the limit for `for_s` seconds, and resolves when it has been back
    by `margin` (a share of the limit) for `calm_s`: without the margin a figure on the edge would fire all day. With
    `guard` the figure counts only while another one is at least as large: a rate of three calls means nothing.
    """

    metric: str
    above: float | None = None
    below: float | None = None
    for_s: float = 0.0
    severity: Severity = "warning"
    name: str = ""
    margin: float = 0.1
    calm_s: float = 30.0
    guard: tuple[str, float] | None = None

    def __post_init__(self) -> None:
        if (self.above is None) == (self.below is None):
            raise InvalidArgumentError(f"threshold on {self.metric!r}: set either above or below")
        if self.for_s < 0 or self.calm_s < 0 or not 0 <= self.margin < 1:
            raise InvalidArgumentError(
                f"threshold on {self.metric!r}: for_s and calm_s are not negative, margin lies between 0 and 1"
            )

    @property
    def limit(self) -> float:
        """The value that is not to be passed."""
        return self.above if self.above is not None else self.below or 0.0

    @property
    def alert(self) -> str:
        """The alert's name: `name`, or one made of the metric and the severity."""
        return self.name or f"{self.metric}_{self.severity}"

    def is_beyond(self, value: float) -> bool:
        """Whether `value` has passed the limit."""
        return value > self.above if self.above is not None else value < self.limit

    def is_calm(self, value: float) -> bool:
        """Whether `value` is back by the margin."""
        room = abs(self.limit) * self.margin
        return value <= self.limit - room if self.above is not None else value >= self.limit + room


DEFAULT_THRESHOLDS: tuple[Threshold, ...] = (
    Threshold(metric="error_rate", above=0.2, for_s=30, guard=("operation_count", 10), name="error_rate_high"),
    Threshold(
        metric="error_rate",
        above=0.5,
        for_s=30,
        guard=("operation_count", 10),
        severity="critical",
        name="error_rate_critical",
    ),
    Threshold(metric="call_p95_ms", above=30_000, for_s=60, guard=("call_count", 10), name="calls_slow"),
    Threshold(metric="loop_lag_ms.p95", above=100, for_s=10, name="event_loop_late"),
    Threshold(metric="pool_wait_p99_ms", above=100, for_s=10, name="database_pool_crowded"),
    Threshold(metric="telemetry_dropped_recently", above=0, severity="warning", name="telemetry_dropped"),
    Threshold(metric="connections_missing", above=0, name="database_connections_short", margin=0.0),
    Threshold(metric="stray_rows", above=0, name="rows_without_partition", margin=0.0),
    Threshold(metric="open_breakers", above=0, for_s=60, name="breaker_open", margin=0.0),
)
