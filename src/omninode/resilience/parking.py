"""Parking: a call that meets an open breaker waits for it to reopen, when its deadline leaves the time.

Refusing is right for a caller who can go elsewhere; one who can only try later is served better by waiting here,
where the moment of reopening is known. After failures that were mostly timeouts or throttled answers the calls are
let go at a `Pace`, because a target that was overloaded would be so again if all came back at once.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from omninode.core import current
from omninode.core.clock import Clock, SystemClock
from omninode.core.errors import BreakerOpenError
from omninode.core.events import EventSink, MetricRecorded, shielded
from omninode.resilience.called import called
from omninode.resilience.pace import Pace
from omninode.resilience.ranges import require_count, require_seconds

__all__ = ["Park", "Parking", "ParkingStatistics"]

P = ParamSpec("P")
T = TypeVar("T")

# So much later than it is told to a caller comes back, drawn between these, so that not all come at once.
_BEYOND_S = (0.05, 0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Park:
    """How calls wait for a breaker.

    Args:
        max_calls: that may be parked at once; one more fails at once.
        margin_s: a call is only parked when so much of its deadline is left after the wait.
        without_deadline_s: how long after its coming a call without a deadline may be parked again; by default it
            never is, because nothing would end its waiting.
    """

    max_calls: int = 500
    margin_s: float = 0.3
    without_deadline_s: float = 0.0

    def __post_init__(self) -> None:
        require_count("Park", "max_calls", self.max_calls, at_least=1)
        require_seconds("Park", "margin_s", self.margin_s, positive=False)
        require_seconds("Park", "without_deadline_s", self.without_deadline_s, positive=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkingStatistics:
    """What a parking place has done since it was made."""

    parked: int
    """Calls that wait now."""
    most_parked: int
    waits: int
    refused: int
    """Calls that failed at once (no place, no deadline, too little of it, an isolated breaker) or got no turn in time."""
    is_paced: bool


class Parking:
    """Runs calls and holds those that a breaker refuses.

    `paces` are those of the targets they wait for; a call goes as soon as one of them lets it.
    """

    def __init__(
        self,
        name: str,
        config: Park,
        *,
        paces: Sequence[Pace],
        clock: Clock | None = None,
        sink: EventSink | None = None,
        seed: int | None = None,
    ) -> None:
        self.name = name
        self.config = config
        self._paces = tuple(paces)
        self._clock = clock or SystemClock()
        self._sink = shielded(sink)
        self._random = random.Random(seed)  # noqa: S311 - jitter, not a secret
        self._parked = self._most_parked = self._waits = self._refused = 0

    async def call(self, func: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """What `func(*args, **kwargs)` returns, tried again after each wait. Raises BreakerOpenError when it may not."""
        began = self._clock.monotonic()
        # Those who wait for the pace would wait for ever if every newcomer went before them.
        has_line = 0 < self._parked < self.config.max_calls and not self._may_go()
        if has_line and not await self._wait(0.0, began):
            self._refused += 1
            raise BreakerOpenError(
                f"{self.name}: behind {self._parked} calls that waited for it to come back, no turn came in time",
                breaker=self.name,
                retry_after_s=_BEYOND_S[1],
            )
        while True:
            try:
                return await called(func, *args, **kwargs)
            except BreakerOpenError as error:
                pause_s = self._pause_s(error, left_s=self._left_s(began))
                if pause_s is None or self._parked >= self.config.max_calls:
                    self._refused += 1
                    raise
                refusal = error
            if not await self._wait(pause_s, began):
                self._refused += 1
                raise refusal

    def statistics(self) -> ParkingStatistics:
        """What it has done so far."""
        return ParkingStatistics(
            parked=self._parked,
            most_parked=self._most_parked,
            waits=self._waits,
            refused=self._refused,
            is_paced=self._is_paced,
        )

    def _pause_s(self, error: BreakerOpenError, *, left_s: float) -> float | None:
        """How long to wait after `error`: a little beyond the break, as far as `left_s` allows; None where it does not."""
        if error.retry_after_s is None or error.retry_after_s + _BEYOND_S[0] > left_s:
            return None
        soonest_s, latest_s = _BEYOND_S
        return error.retry_after_s + self._random.uniform(soonest_s, min(latest_s, left_s - error.retry_after_s))

    @property
    def _is_paced(self) -> bool:
        return all(pace.is_slow for pace in self._paces)

    def _may_go(self) -> bool:
        return any(pace.may_go() for pace in self._paces)

    def _left_s(self, came_at: float) -> float:
        """For how long a call may wait from now."""
        deadline = current.scope().deadline
        if deadline is None:
            return came_at + self.config.without_deadline_s - self._clock.monotonic()
        return deadline.remaining() - self.config.margin_s

    async def _wait(self, pause_s: float, came_at: float) -> bool:
        """Wait, then for a turn; False when none came in time and there is no point in going without.

        After an overload there is none: the answer would come too late, and its making cost those behind a turn. After
        quick failures the answers are quick again as well.
        """
        self._parked += 1
        self._most_parked = max(self._most_parked, self._parked)
        self._waits += 1
        began = self._clock.monotonic()
        try:
            await self._clock.sleep(pause_s)
            while not self._may_go():
                look_again_s = self._random.uniform(0.1, 0.3)
                if look_again_s > self._left_s(came_at):
                    return not self._is_paced
                await self._clock.sleep(look_again_s)
            return True
        finally:
            self._parked -= 1
            self._tell(self._clock.monotonic() - began)

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
