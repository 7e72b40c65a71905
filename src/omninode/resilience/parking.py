"""Parking: a call that meets an open breaker waits for it to reopen, when its deadline leaves the time.

Refusing is right for a caller who can go elsewhere; one who can only try later is served better by waiting here,
where the moment of reopening is known. After failures that were mostly timeouts or throttled answers the calls are
let go one token at a time, because a target that was overloaded would be so again if all came back at once.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from omninode.core import current
from omninode.core.clock import Clock, SystemClock
from omninode.core.errors import BreakerOpenError
from omninode.core.events import EventSink, MetricRecorded, shielded
from omninode.resilience.called import called
from omninode.resilience.classify import FAILURES, Classifier, Outcome, classify, outcome_of
from omninode.resilience.ranges import require_count, require_seconds

__all__ = ["Park", "Parking", "ParkingStatistics"]

P = ParamSpec("P")
T = TypeVar("T")

_SLOW = frozenset({Outcome.TIMEOUT, Outcome.OVERLOAD})
# The pace: how fast the share of slow failures is learned, from where it is used, and its tokens.
_LEARNING, _PACED_FROM = 0.05, 0.5
_FIRST_TOKENS, _MOST_TOKENS, _TOKENS_PER_SUCCESS = 3.0, 10.0, 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Park:
    """How calls wait for a breaker.

    Args:
        max_calls: that may be parked at once; one more fails at once.
        margin_s: a call is only parked when so much of its deadline is left after the wait. A call without a
            deadline is never parked: nothing would end its waiting.
    """

    max_calls: int = 500
    margin_s: float = 0.3

    def __post_init__(self) -> None:
        require_count("Park", "max_calls", self.max_calls, at_least=1)
        require_seconds("Park", "margin_s", self.margin_s, positive=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkingStatistics:
    """What a parking place has done since it was made."""

    parked: int
    """Calls that wait now."""
    most_parked: int
    waits: int
    refused: int
    """Calls that failed at once: no place, no deadline, too little of it, or an isolated breaker."""
    is_paced: bool


class Parking:
    """Runs calls and holds those that the breaker refuses; `listen` goes around each attempt, to learn the pace."""

    def __init__(
        self,
        name: str,
        config: Park,
        *,
        clock: Clock | None = None,
        sink: EventSink | None = None,
        classify: Classifier = classify,
        seed: int | None = None,
    ) -> None:
        self.name = name
        self.config = config
        self._clock = clock or SystemClock()
        self._sink = shielded(sink)
        self._classify = classify
        self._random = random.Random(seed)  # noqa: S311 - jitter, not a secret
        self._slow_share = 0.0
        self._tokens = _FIRST_TOKENS
        self._parked = self._most_parked = self._waits = self._refused = 0

    async def call(self, func: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """What `func(*args, **kwargs)` returns, tried again after each wait. Raises BreakerOpenError when it may not."""
        while True:
            try:
                return await called(func, *args, **kwargs)
            except BreakerOpenError as error:
                pause_s = self._pause_s(error)
                if pause_s is None or not self._may_wait(pause_s):
                    self._refused += 1
                    raise
            await self._wait(pause_s)

    async def listen(self, func: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """What `func(*args, **kwargs)` returns; how it ends sets the pace."""
        try:
            value = await called(func, *args, **kwargs)
        except Exception as error:
            outcome = outcome_of(self._classify, error)
            if outcome in FAILURES:
                self._slow_share += _LEARNING * ((outcome in _SLOW) - self._slow_share)
            raise
        self._tokens = min(_MOST_TOKENS, self._tokens + _TOKENS_PER_SUCCESS)
        return value

    def statistics(self) -> ParkingStatistics:
        """What it has done so far."""
        return ParkingStatistics(
            parked=self._parked,
            most_parked=self._most_parked,
            waits=self._waits,
            refused=self._refused,
            is_paced=self._slow_share >= _PACED_FROM,
        )

    def _pause_s(self, error: BreakerOpenError) -> float | None:
        return None if error.retry_after_s is None else error.retry_after_s + self._random.uniform(0.05, 0.5)

    def _may_wait(self, pause_s: float) -> bool:
        deadline = current.scope().deadline
        if deadline is None or self._parked >= self.config.max_calls:
            return False
        return pause_s + self.config.margin_s <= deadline.remaining()

    async def _wait(self, pause_s: float) -> None:
        self._parked += 1
        self._most_parked = max(self._most_parked, self._parked)
        self._waits += 1
        began = self._clock.monotonic()
        try:
            await self._clock.sleep(pause_s)
            while not self._may_go():
                look_again_s = self._random.uniform(0.1, 0.3)
                if not self._leaves(look_again_s):
                    # No token came in time; the breaker, not we, refuses what comes now.
                    break
                await self._clock.sleep(look_again_s)
        finally:
            self._parked -= 1
            self._tell(self._clock.monotonic() - began)

    def _may_go(self) -> bool:
        if self._slow_share < _PACED_FROM:
            return True
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def _leaves(self, pause_s: float) -> bool:
        deadline = current.scope().deadline
        return deadline is None or pause_s + self.config.margin_s <= deadline.remaining()

    def _tell(self, waited_s: float) -> None:
        if self._sink is not None:
            scope = current.scope()
            self._sink.emit(
                MetricRecorded(
                    run_id=scope.run_id,
                    phase=scope.phase,
                    metric="park_wait_ms",
                    value=waited_s * 1000,
                    labels={"policy": self.name},
                )
            )
