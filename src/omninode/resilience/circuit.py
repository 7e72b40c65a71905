"""What a breaker is told, and what it tells: its settings, its states, its counts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Self

from omninode.core.errors import InvalidArgumentError
from omninode.resilience.classify import Classifier, classify
from omninode.resilience.detector import DetectorSpec, Sequential
from omninode.resilience.ranges import (
    require_callable,
    require_count,
    require_kind,
    require_methods,
    require_seconds,
    require_share,
)

__all__ = ["Break", "BreakerStatistics", "CircuitBreakerConfig", "CircuitState", "Counts"]

# Seven failures in a row, by the defaults.
_SUDDEN_TRIP_CALLS = 80.0


class CircuitState(Enum):
    """What a breaker does with a call."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitBreakerConfig:
    """How a breaker decides. The defaults are the document's; `sequential` has the recommended ones.

    Args:
        failure_threshold: so many failures in a row open it (unless `detector` is given); at least 1.
        timeout_seconds: the longest first break, in seconds.
        success_threshold: so many successful probes close it; at least 1.
        half_open_max_calls: probes under way at once; at least 1.
        break_growth: each opening without a calm stretch (50 successes) between makes the break so many times longer;
            1 to 100.
        max_break_seconds: where that growth ends; None for 10 x `timeout_seconds`.
        jitter: the share by which a break may be shorter, at random, so that many breakers do not wake in step.
        probe_ramp: one more probe at once for each that succeeded: 1, 2, 3, instead of a fixed number.
        detector: another rule for opening, such as `Sequential()`.
        closing: another rule for half open. With it each probe moves a score as in `Sequential`, from zero: above zero
            it opens again, and at `-ln(100)` (two successes more than failures, by the defaults) it closes. A failure
            after a success is then no reason to open again, which at 50 % failures kept a breaker open for ever; and
            once closed by it, the next break is as short as a first one.
        classify: what an error says about the other side.
    """

    failure_threshold: int = 5
    timeout_seconds: float = 30.0
    success_threshold: int = 2
    half_open_max_calls: int = 1
    break_growth: float = 1.0
    max_break_seconds: float | None = None
    jitter: float = 0.1
    probe_ramp: bool = False
    detector: DetectorSpec | None = None
    closing: Sequential | None = None
    classify: Classifier = classify

    @classmethod
    def sequential(cls, *, p0: float = 0.5, p1: float = 0.95, false_trip_calls: float = 22_026.0) -> Self:
        """The recommended breaker: sequential tests for opening and closing, short growing breaks, probes that ramp.

        A break is drawn from 0.4 to 0.6 s and grows by half with each opening, up to 2.4 s. Seven failures in a row
        open it after a calm stretch, else about 16. The tests compare failure rates
        `p0` and `p1`, see `Sequential`; use (0.3, 0.9) where a healthy alternate makes opening cheap. Under partial
        outages the document's breaker raises the failures a caller sees, and this one does not: it stays closed below
        about 78 % failures, which is what retries are for.
        """
        sudden = min(_SUDDEN_TRIP_CALLS, false_trip_calls)
        test = Sequential(p0=p0, p1=p1, false_trip_calls=false_trip_calls)
        return cls(
            timeout_seconds=0.6,
            break_growth=1.5,
            max_break_seconds=2.4,
            jitter=1 / 3,
            probe_ramp=True,
            detector=replace(test, sudden_trip_calls=sudden),
            closing=test,
        )

    def __post_init__(self) -> None:
        owner = "CircuitBreakerConfig"
        require_count(owner, "failure_threshold", self.failure_threshold, at_least=1)
        require_seconds(owner, "timeout_seconds", self.timeout_seconds)
        require_count(owner, "success_threshold", self.success_threshold, at_least=1)
        require_count(owner, "half_open_max_calls", self.half_open_max_calls, at_least=1)
        require_share(owner, "break_growth", self.break_growth, low=1.0, high=100.0)
        require_share(owner, "jitter", self.jitter)
        require_kind(owner, "probe_ramp", self.probe_ramp, bool)
        require_kind(owner, "closing", self.closing, Sequential, type(None))
        require_callable(owner, "classify", self.classify)
        if self.detector is not None:
            require_methods(owner, "detector", self.detector, "start")
        if self.max_break_seconds is not None:
            require_seconds(owner, "max_break_seconds", self.max_break_seconds)
            if self.max_break_seconds < self.timeout_seconds:
                raise InvalidArgumentError(
                    f"{owner}: max_break_seconds is {self.max_break_seconds}, below timeout_seconds "
                    f"{self.timeout_seconds}; raise it or leave it out"
                )

    def longest_break_s(self, openings: int) -> float:
        """The length of a break, before jitter, after `openings` openings without a calm stretch."""
        limit = self.max_break_seconds or 10 * self.timeout_seconds
        # The exponent is bounded so that a large growth cannot overflow.
        return min(limit, self.timeout_seconds * self.break_growth ** min(max(0, openings - 1), 60))


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """An opening: when it began and ends on the monotonic clock (for ever when isolated), and why."""

    opened_at: datetime
    began: float
    until: float
    reason: str
    is_second_hand: bool = False
    """See `BreakerSnapshot.is_second_hand`."""

    def left_s(self, now: float) -> float:
        """Seconds left of it; none when the clock has gone back to before it, or that would make it longer."""
        return max(0.0, self.until - now) if now >= self.began else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerStatistics:
    """What a breaker has seen since it was made or reset."""

    name: str
    state: CircuitState
    generation: int
    reason: str
    retry_after_s: float | None
    successes: int
    failures: int
    neutral: int
    rejected: int
    stale: int
    """Results that came after the state they were admitted under had passed."""
    openings: int
    probes_under_way: int


@dataclass(slots=True)
class Counts:
    """What a breaker has counted since it was made or reset; the fields are those of its statistics."""

    successes: int = 0
    failures: int = 0
    neutral: int = 0
    rejected: int = 0
    stale: int = 0
    openings: int = 0
    told: int = 0
