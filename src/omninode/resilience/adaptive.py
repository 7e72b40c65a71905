"""An attempt timeout that is found out instead of configured: so many times what successes usually take.

A fixed limit is either so long that a target that hangs holds its callers for minutes, or so short that it cuts off
answers on a slow day. Learning from successes alone has a trap: when every answer takes longer than the limit there
are no successes to learn that from. So a limit that has just cut an attempt off is doubled until something succeeds
(the back-off of a retransmission timer, RFC 6298 section 5.5), which finds any new latency in a few steps.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from omninode.core.clock import Clock, SystemClock
from omninode.core.errors import InvalidArgumentError
from omninode.core.events import EventSink
from omninode.resilience.latency import Latencies
from omninode.resilience.ranges import require_count, require_seconds, require_share
from omninode.resilience.telling import Level
from omninode.resilience.timeout import AttemptTimeout

__all__ = ["AdaptiveAttempts", "AdaptiveTimeout"]

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptiveTimeout:
    """The limit of one attempt, learned from the latest 300 successes of the policy it is given to.

        limit = factor * quantile(successes) * 2 ** cuts,  never below at_least_s, never above at_most_s

    `cuts` is how many limits in a row have cut an attempt off with no success since. Below `min_samples` successes the
    limit is `at_most_s`. One policy is to have calls of one kind: what legitimately takes longer than `factor` times
    the quantile, and is rarer than the quantile shows, is cut off.

    Args:
        quantile: of the time that successes took, 0.5 to 0.999.
        factor: 1 to 1000.
        at_least_s, at_most_s: bounds of the limit, in seconds.
        min_samples: successes before anything is believed to be known, 1 to 300.
    """

    quantile: float = 0.99
    factor: float = 4.0
    at_least_s: float = 0.1
    at_most_s: float = 60.0
    min_samples: int = 50

    def __post_init__(self) -> None:
        owner = "AdaptiveTimeout"
        require_share(owner, "quantile", self.quantile, low=0.5, high=0.999)
        require_share(owner, "factor", self.factor, low=1.0, high=1000.0)
        require_seconds(owner, "at_least_s", self.at_least_s)
        require_seconds(owner, "at_most_s", self.at_most_s)
        require_count(owner, "min_samples", self.min_samples, at_least=1)
        if self.at_least_s > self.at_most_s:
            raise InvalidArgumentError(
                f"{owner}: at_least_s is {self.at_least_s}, above at_most_s {self.at_most_s}; lower it"
            )
        if self.min_samples > 300:
            raise InvalidArgumentError(f"{owner}: min_samples is {self.min_samples}; at most 300 are kept, lower it")


class AdaptiveAttempts(AttemptTimeout):
    """Gives each call what `config` says by now. Emits `attempt_timeout_ms` when that has moved by a fifth."""

    __slots__ = ("_clock", "_config", "_cuts", "_latencies", "_level", "_reach_s")

    def __init__(
        self, name: str, config: AdaptiveTimeout, *, clock: Clock | None = None, sink: EventSink | None = None
    ) -> None:
        super().__init__(name, config.at_most_s)
        self._config = config
        self._clock = clock or SystemClock()
        self._latencies = Latencies()
        self._cuts = 0
        self._reach_s = config.at_most_s
        self._level = Level(
            sink,
            metric="attempt_timeout_ms",
            name=name,
            part="attempt_timeout",
            step=0.2,
            start=config.at_most_s * 1000,
        )

    def __str__(self) -> str:
        config = self._config
        return (
            f"{config.factor:g} x the {config.quantile:g} quantile of successes, "
            f"{config.at_least_s:g} to {config.at_most_s:g} s, now {self.seconds:g} s"
        )

    async def call(self, func: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """See `AttemptTimeout.call`; how long a success takes moves the limit."""
        began = self._clock.monotonic()
        value = await super().call(func, *args, **kwargs)
        self._latencies.add(self._clock.monotonic() - began)
        self._cuts = 0
        self._move()
        return value

    def too_late(self, allowed: float, error: BaseException, *, own: float | None, is_deadline: bool) -> Exception:
        """See `AttemptTimeout.too_late`; doubles the limit."""
        # An attempt cut off by an earlier, shorter limit says nothing against the one there is now: a hundred that
        # hang together double it once.
        if not is_deadline and self.seconds is not None and allowed >= self.seconds:
            self._cuts += 1
            self._move()
        return super().too_late(allowed, error, own=own, is_deadline=is_deadline)

    def _move(self) -> None:
        config = self._config
        usual_s = self._latencies.quantile(config.quantile, at_least=config.min_samples)
        if usual_s is None:
            return
        # The exponent is bounded so that it cannot overflow; the limit is at its upper bound long before.
        limit = config.factor * usual_s * 2.0 ** min(self._cuts, 60)
        self.seconds = min(config.at_most_s, max(config.at_least_s, limit))
        if not 0.5 <= self.seconds / self._reach_s <= 2.0:
            # Timers that are set stay with the wheel they are on; the next attempt makes one with fitting steps.
            self._reach_s, self._wheel = self.seconds, None
        self._level.moved(self.seconds * 1000)
