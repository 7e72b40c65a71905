"""A soft timeout: a call that runs unusually long tells its breaker at once, and goes on.

Waiting for the hard timeout means that a target that hangs takes in calls for that long before anybody notices. What
"unusually long" is, is learned: so many times a high quantile of the latest successes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from omninode.core.clock import Clock, SystemClock
from omninode.core.events import EventSink
from omninode.resilience.breaker import CircuitBreaker, Permit
from omninode.resilience.called import called
from omninode.resilience.classify import Outcome, outcome_of
from omninode.resilience.latency import Latencies
from omninode.resilience.ranges import require_count, require_seconds, require_share
from omninode.resilience.telling import Spell

__all__ = ["SoftTimeout", "SoftTimeoutStatistics", "SoftlyTimed"]

_MOST_DOUBLINGS = 6
# By so much, and so much of its time, an alarm may be late; a loop that is not overloaded is within milliseconds.
_TOLERANCE_S, _TOLERANCE = 0.005, 0.1

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftTimeout:
    """After `times` x the `quantile` of the latest 300 successes, and never before `at_least_s`.

    Args:
        times: 1 to 1000.
        quantile: 0.5 to 0.999.
        min_samples: successes, at least 1; below that nothing is known and nothing is reported early.
        at_least_s: seconds.
    """

    times: float = 4.0
    quantile: float = 0.99
    min_samples: int = 50
    at_least_s: float = 0.05

    def __post_init__(self) -> None:
        require_share("SoftTimeout", "times", self.times, low=1.0, high=1000.0)
        require_share("SoftTimeout", "quantile", self.quantile, low=0.5, high=0.999)
        require_count("SoftTimeout", "min_samples", self.min_samples, at_least=1)
        require_seconds("SoftTimeout", "at_least_s", self.at_least_s, positive=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftTimeoutStatistics:
    """What a soft timeout has done since it was made."""

    reported: int
    """Attempts of which the breaker was told before they ended."""
    after_s: float | None
    """How long an attempt runs before it is reported, None while too little is known."""


class SoftlyTimed:
    """Guards calls with `breaker`, as it would itself, with the soft timeout added."""

    def __init__(
        self, config: SoftTimeout, breaker: CircuitBreaker, *, clock: Clock | None = None, sink: EventSink | None = None
    ) -> None:
        self.config = config
        self._breaker = breaker
        self._clock = clock or SystemClock()
        self._latencies = Latencies()
        self._spell = Spell(sink, self._clock, metric="soft_timeout_count", name=breaker.name, part="soft_timeout")
        self._reported = 0

    @property
    def after_s(self) -> float | None:
        """When a call is reported, None while too little is known."""
        usual_s = self._latencies.quantile(self.config.quantile, at_least=self.config.min_samples)
        return None if usual_s is None else max(self.config.at_least_s, self.config.times * usual_s)

    async def call(self, func: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """What `func(*args, **kwargs)` returns. Raises BreakerOpenError when refused.

        A call that was reported and then succeeds counts as a success as well; one that fails is not counted twice.
        """
        breaker = self._breaker
        permit = breaker.admit()
        after_s = self.after_s
        alarm = None
        if after_s is not None:
            if permit.is_probe:
                # What is slow now and not dead is found alive by one of the next probes, and its times are learned.
                after_s *= 2.0 ** min(breaker.openings_in_a_row, _MOST_DOUBLINGS)
            alarm = _Alarm(after_s, self._report, permit)
        began = self._clock.monotonic()
        try:
            value = await called(func, *args, **kwargs)
        except BaseException as error:
            permit.release(outcome_of(breaker.config.classify, error), cause=type(error).__name__)
            raise
        finally:
            if alarm is not None:
                alarm.cancel()
        self._latencies.add(self._clock.monotonic() - began)
        if self._spell.is_on:
            self._spell.ease()
        if permit.is_held or permit.is_probe:
            permit.release(Outcome.SUCCESS)
        else:
            breaker.hear(permit, Outcome.SUCCESS)
        return value

    def statistics(self) -> SoftTimeoutStatistics:
        """What it has done so far."""
        return SoftTimeoutStatistics(reported=self._reported, after_s=self.after_s)

    def _report(self, permit: Permit) -> None:
        """Tell the breaker that the call of `permit` runs too long."""
        self._reported += 1
        self._spell.strike()
        permit.release(Outcome.TIMEOUT, cause="soft timeout")


class _Alarm:
    """Reports a call after a while, by the time of the loop.

    An alarm that comes late says that this process was busy, not that the target is slow: answers that came meanwhile
    have not been read yet. It then waits once more for as long as it was late.
    """

    __slots__ = ("_due", "_handle", "_loop", "_permit", "_report", "_tolerance_s")

    def __init__(self, after_s: float, report: Callable[[Permit], None], permit: Permit) -> None:
        self._report, self._permit = report, permit
        self._tolerance_s = max(_TOLERANCE_S, after_s * _TOLERANCE)
        self._loop = asyncio.get_running_loop()
        self._arm(after_s)

    def cancel(self) -> None:
        """Report nothing any more."""
        self._handle.cancel()

    def _arm(self, after_s: float) -> None:
        self._due = self._loop.time() + after_s
        self._handle = self._loop.call_at(self._due, self._ring)

    def _ring(self) -> None:
        late_s = self._loop.time() - self._due
        if late_s > self._tolerance_s:
            self._arm(late_s)
        else:
            self._report(self._permit)
