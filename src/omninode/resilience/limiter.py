"""Adaptive concurrency: how many calls at once a target takes is found out, not configured.

Two rules. AIMD grows by one per limit's worth of successes and shrinks by a fifth when the target throttles or times
out; it looks at no latency, so long answers do not fool it: right for models. Gradient2 (Netflix,
concurrency-limits) compares short and long averages of a latency; right for targets whose calls are alike, or when
fed with a time that does not depend on the length of the answer, by `sample`.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, ParamSpec, Protocol, TypeVar

from omninode.core.clock import Clock, SystemClock
from omninode.core.errors import InvalidArgumentError
from omninode.core.events import EventSink
from omninode.resilience.bulkhead import Bulkhead, BulkheadConfig
from omninode.resilience.called import called
from omninode.resilience.classify import Classifier, Outcome, classify, outcome_of
from omninode.resilience.ranges import require_callable, require_count, require_methods
from omninode.resilience.telling import Level

__all__ = ["Adaptive", "AdaptiveLimit", "Aimd", "Gradient2", "LimitRule", "LimitStatistics"]

P = ParamSpec("P")
T = TypeVar("T")

_SLOW = frozenset({Outcome.TIMEOUT, Outcome.OVERLOAD})


class LimitRule(Protocol):
    """What moves a limit; settings only, what is learned is in `Learned`."""

    def after(self, learned: Learned, outcome: Outcome, *, sample_s: float, running: int, now: float) -> float:
        """The limit after a call ended with `outcome`; unbounded, the caller bounds it."""
        ...


@dataclass(slots=True)
class Learned:
    """What one limit has learned."""

    limit: float
    shrunk_at: float = float("-inf")
    long_s: float = 0.0
    short_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Aimd:
    """Additive increase, multiplicative decrease: one more per limit's worth of successes while at least half of it
    is used, a fifth less after a throttled answer or a timeout, at most once per 0.3 s (Chiu and Jain, 1989).
    """

    def after(self, learned: Learned, outcome: Outcome, *, sample_s: float, running: int, now: float) -> float:  # noqa: ARG002 - looks at no latency
        """See `LimitRule.after`."""
        limit = learned.limit
        if outcome in _SLOW and not 0.0 <= now - learned.shrunk_at < 0.3:
            learned.shrunk_at = now
            return limit * 0.8
        # A limit that is not used says nothing about whether a higher one would do.
        return limit + 1.0 / limit if outcome is Outcome.SUCCESS and running >= limit / 2 else limit


@dataclass(frozen=True, slots=True)
class Gradient2:
    """Shrinks while the latest latency is above 1.5 x the long-term one; after a throttled answer or a timeout as `Aimd`.

    Method and constants are those of `Gradient2Limit` in Netflix's concurrency-limits. Where latency depends on what is
    asked it shrinks for no reason; see `Adaptive.sample`.
    """

    def after(self, learned: Learned, outcome: Outcome, *, sample_s: float, running: int, now: float) -> float:
        """See `LimitRule.after`."""
        if outcome in _SLOW:
            return Aimd().after(learned, outcome, sample_s=sample_s, running=running, now=now)
        limit = learned.limit
        if outcome is not Outcome.SUCCESS or sample_s <= 0:
            return limit
        learned.short_s = sample_s if not learned.short_s else learned.short_s + 0.1 * (sample_s - learned.short_s)
        learned.long_s = sample_s if not learned.long_s else learned.long_s + (sample_s - learned.long_s) / 300.0
        if learned.long_s > 2 * learned.short_s:
            # The long average is from a slower time; without this it would take minutes to forget.
            learned.long_s *= 0.95
        if running < limit / 2:
            return limit
        gradient = max(0.5, min(1.0, 1.5 * learned.long_s / learned.short_s))
        return 0.8 * limit + 0.2 * (limit * gradient + 4.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adaptive:
    """The limit: where it starts, its bounds, its waiting line, and the rule that moves it.

    Args:
        start: calls at once in the beginning, within the bounds.
        min_limit, max_limit: bounds, at least 1.
        max_queue: callers that may wait; one more is refused with BulkheadFullError.
        rule: `Aimd()` or `Gradient2()`.
        sample: `sample(value, took_s)` gives the seconds to judge a success by, such as the time to the first token or
            the time per token; the whole time unless given. One that raises teaches nothing.
    """

    start: int = 20
    min_limit: int = 2
    max_limit: int = 200
    max_queue: int = 100
    rule: LimitRule = Aimd()
    # Any: the value is whatever the protected function returns.
    sample: Callable[[Any, float], float] | None = None

    def __post_init__(self) -> None:
        require_count("Adaptive", "min_limit", self.min_limit, at_least=1)
        require_count("Adaptive", "max_limit", self.max_limit, at_least=self.min_limit)
        require_count("Adaptive", "max_queue", self.max_queue, at_least=0)
        require_count("Adaptive", "start", self.start, at_least=self.min_limit)
        require_methods("Adaptive", "rule", self.rule, "after")
        if self.sample is not None:
            require_callable("Adaptive", "sample", self.sample)
        if self.start > self.max_limit:
            raise InvalidArgumentError(f"Adaptive: start is {self.start}, above max_limit {self.max_limit}; lower it")


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitStatistics:
    """Where a limit stands, and what it has done since it was made."""

    name: str
    limit: float
    """Calls at once, before rounding down."""
    running: int
    waiting: int
    most_waiting: int
    admitted: int
    rejected: int
    timed_out: int
    shrunk: int
    """Calls after which the limit was lower than before."""


class AdaptiveLimit:
    """A bulkhead whose width follows how the calls end. Waits and raises as `Bulkhead` does.

    Emits `MetricRecorded` named `concurrency_limit` whenever the limit has moved by a tenth.
    """

    def __init__(
        self,
        name: str,
        config: Adaptive | None = None,
        *,
        clock: Clock | None = None,
        sink: EventSink | None = None,
        classify: Classifier = classify,
    ) -> None:
        self.name = name
        self.config = config or Adaptive()
        self._clock = clock or SystemClock()
        self._classify = classify
        start = float(self.config.start)
        self._learned = Learned(limit=start)
        self._places = Bulkhead(
            name,
            BulkheadConfig(max_concurrent=self.config.start, max_queue=self.config.max_queue),
            clock=clock,
            sink=sink,
            part="limit",
        )
        self._level = Level(sink, metric="concurrency_limit", name=name, part="limit", step=0.1, start=start)
        self._shrunk = 0

    @property
    def limit(self) -> float:
        """How many calls run at once, before rounding down."""
        return self._learned.limit

    async def call(self, func: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """What `func(*args, **kwargs)` returns, run with a place; how it ends moves the limit."""
        await self._places.acquire()
        try:
            began = self._clock.monotonic()
            try:
                value = await called(func, *args, **kwargs)
            except Exception as error:
                self._learn(outcome_of(self._classify, error), 0.0)
                raise
            took_s = self._clock.monotonic() - began
            self._learn(Outcome.SUCCESS, took_s if self.config.sample is None else self._sampled(value, took_s))
            return value
        finally:
            self._places.release()

    def statistics(self) -> LimitStatistics:
        """Where it stands, how full it is, and what it has done."""
        places = self._places.statistics()
        return LimitStatistics(
            name=self.name,
            limit=self._learned.limit,
            running=places.running,
            waiting=places.waiting,
            most_waiting=places.most_waiting,
            admitted=places.admitted,
            rejected=places.rejected,
            timed_out=places.timed_out,
            shrunk=self._shrunk,
        )

    def _sampled(self, value: object, took_s: float) -> float:
        assert self.config.sample is not None
        try:
            sample_s = float(self.config.sample(value, took_s))
        except Exception:  # noqa: BLE001 - border: user-supplied callback; 0.0 is a sample that teaches nothing
            return 0.0
        return sample_s if math.isfinite(sample_s) else 0.0

    def _learn(self, outcome: Outcome, sample_s: float) -> None:
        running = self._places.statistics().running
        limit = self.config.rule.after(
            self._learned, outcome, sample_s=sample_s, running=running, now=self._clock.monotonic()
        )
        before = self._learned.limit
        after = min(float(self.config.max_limit), max(float(self.config.min_limit), limit))
        if after == before:
            return
        self._learned.limit = after
        self._shrunk += after < before
        self._places.resize(int(after))
        self._level.moved(after)
