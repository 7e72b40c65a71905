"""Hedging: a second attempt beside one that takes unusually long, within a budget.

It trades a few per cent more load for a much shorter tail ("The Tail at Scale", Dean and Barroso, 2013). Only for
calls that may be made twice: giving a policy a hedge says that they may.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from omninode.core import current
from omninode.core.clock import Clock, SystemClock
from omninode.core.concurrency import cancel_and_wait
from omninode.core.errors import RefusedError
from omninode.core.events import EventSink, MetricRecorded, shielded
from omninode.resilience.called import called
from omninode.resilience.classify import FAILURES, Classifier, classify, outcome_of
from omninode.resilience.latency import Latencies
from omninode.resilience.ranges import require_count, require_share

__all__ = ["Hedge", "HedgeStatistics", "Hedging"]

P = ParamSpec("P")
T = TypeVar("T")

_MOST_TOKENS, _TOKENS_PER_SECOND = 10.0, 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Hedge:
    """When a second attempt is made.

    Args:
        quantile: once the first has run longer than this share of the latest 300 successes; 0.5 to 0.999.
        budget: second attempts per call, 0 to 1; besides, half a one per second is free, so that a quiet target has
            some. At most ten are saved up.
        min_samples: below so many successes nothing is known and nothing is hedged; at least 1.
    """

    quantile: float = 0.95
    budget: float = 0.05
    min_samples: int = 50

    def __post_init__(self) -> None:
        require_share("Hedge", "quantile", self.quantile, low=0.5, high=0.999)
        require_share("Hedge", "budget", self.budget)
        require_count("Hedge", "min_samples", self.min_samples, at_least=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgeStatistics:
    """What hedging has done since it was made."""

    started: int
    """Second attempts."""
    won: int
    """Calls answered by the second."""
    cancelled: int
    """Attempts given up because the other answered."""
    denied: int
    """Slow calls that the budget left alone."""
    after_s: float | None
    """The wait before a second attempt, None while too little is known."""


class Hedging:
    """Runs calls, some of them twice; the loser is cancelled before the winner's value is returned."""

    def __init__(
        self,
        name: str,
        config: Hedge,
        *,
        clock: Clock | None = None,
        sink: EventSink | None = None,
        classify: Classifier = classify,
    ) -> None:
        self.name = name
        self.config = config
        self._clock = clock or SystemClock()
        self._sink = shielded(sink)
        self._classify = classify
        self._latencies = Latencies()
        self._tokens = _MOST_TOKENS
        self._filled_at = self._clock.monotonic()
        self._started = self._won = self._cancelled = self._denied = 0

    async def call(self, func: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """What `func(*args, **kwargs)` returns, from whichever attempt succeeds first.

        Raises the error of the last attempt under way. An error that another attempt would meet as well ends both.
        """
        self._tokens = min(_MOST_TOKENS, self._tokens + self.config.budget)
        after_s = self.after_s
        if after_s is None:
            return await self._timed(func, *args, **kwargs)
        running = {asyncio.ensure_future(self._timed(func, *args, **kwargs))}
        try:
            first = next(iter(running))
            await self._patiently(first, after_s)
            if first.done() or not self._takes_token():
                return await _only(first)
            self._started += 1
            self._tell()
            second = asyncio.ensure_future(self._timed(func, *args, **kwargs))
            running.add(second)
            winner = await self._first_good(running)
            self._won += winner is second
            self._cancelled += sum(not task.done() for task in running)
            return winner.result()
        finally:
            await cancel_and_wait(running)
            for task in running:
                # A loser that failed is no news; asked for, or asyncio would report it as never retrieved.
                if not task.cancelled():
                    task.exception()

    @property
    def after_s(self) -> float | None:
        """The wait before a second attempt."""
        return self._latencies.quantile(self.config.quantile, at_least=self.config.min_samples)

    def statistics(self) -> HedgeStatistics:
        """What it has done so far."""
        return HedgeStatistics(
            started=self._started,
            won=self._won,
            cancelled=self._cancelled,
            denied=self._denied,
            after_s=self.after_s,
        )

    # Any: see `called`; the public method knows the types.
    async def _timed(self, func: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T:
        began = self._clock.monotonic()
        value = await called(func, *args, **kwargs)
        self._latencies.add(self._clock.monotonic() - began)
        return value

    async def _patiently(self, first: asyncio.Task[T], after_s: float) -> None:
        alarm = asyncio.ensure_future(self._clock.sleep(after_s))
        try:
            await asyncio.wait({first, alarm}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_and_wait([alarm])

    async def _first_good(self, running: set[asyncio.Task[T]]) -> asyncio.Task[T]:
        pending = running
        while True:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            # Both may end in one turn of the loop; a value is then worth more than an error.
            ended = sorted(done, key=lambda task: task.cancelled() or task.exception() is not None)
            for task in ended:
                if task.cancelled() or self._is_final(task.exception()):
                    return task
            if not pending:
                return ended[-1]

    def _is_final(self, error: BaseException | None) -> bool:
        if isinstance(error, RefusedError):
            # We did not let the second through; that says nothing about the first, which may be the probe itself.
            return False
        return error is None or outcome_of(self._classify, error) not in FAILURES

    def _takes_token(self) -> bool:
        now = self._clock.monotonic()
        self._tokens = min(_MOST_TOKENS, self._tokens + _TOKENS_PER_SECOND * max(0.0, now - self._filled_at))
        self._filled_at = now
        if self._tokens < 1.0:
            self._denied += 1
            return False
        self._tokens -= 1.0
        return True

    def _tell(self) -> None:
        if self._sink is not None:
            scope = current.scope()
            self._sink.emit(
                MetricRecorded(
                    run_id=scope.run_id,
                    phase=scope.phase,
                    metric="hedge_count",
                    value=1.0,
                    labels={"policy": self.name},
                )
            )


async def _only(task: asyncio.Task[T]) -> T:
    return await task
