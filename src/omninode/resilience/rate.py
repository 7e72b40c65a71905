"""A rate limit: at most so many calls per second, evenly, with some in a burst.

The generic cell rate algorithm (ITU-T I.371): one number, the moment at which the bucket would be full, says all.
Waiting callers are served in their order, because each takes its moment when it comes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from omninode.core import current
from omninode.core.clock import Clock, SystemClock
from omninode.core.errors import RateLimitedError
from omninode.core.events import EventSink
from omninode.resilience.called import called
from omninode.resilience.ranges import require_count, require_seconds, require_share
from omninode.resilience.telling import Spell

__all__ = ["Rate", "RateLimit", "RateStatistics"]

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """The limit, kept by the generic cell rate algorithm.

    Args:
        per_second: calls per second, 1e-6 to 1e6.
        burst: calls at once after a quiet time, at least 1.
        max_wait_s: seconds a call may wait for its turn; one that would wait longer, or beyond its deadline, is
            refused at once with RateLimitedError.
    """

    per_second: float
    burst: int = 1
    max_wait_s: float = 60.0

    def __post_init__(self) -> None:
        require_share("Rate", "per_second", self.per_second, low=1e-6, high=1e6)
        require_count("Rate", "burst", self.burst, at_least=1)
        require_seconds("Rate", "max_wait_s", self.max_wait_s, positive=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateStatistics:
    """What a rate limit has done since it was made."""

    admitted: int
    delayed: int
    refused: int


class RateLimit:
    """Keeps calls to the target called `name` within a rate."""

    def __init__(self, name: str, config: Rate, *, clock: Clock | None = None, sink: EventSink | None = None) -> None:
        self.name = name
        self.config = config
        self._clock = clock or SystemClock()
        self._interval_s = 1.0 / config.per_second
        self._full_at = 0.0
        self._spell = Spell(sink, self._clock, metric="rejected_count", name=name, part="rate")
        self._admitted = self._delayed = self._refused = 0

    async def call(self, func: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """What `func(*args, **kwargs)` returns, once it is its turn. Raises as `acquire` does."""
        await self.acquire()
        return await called(func, *args, **kwargs)

    async def acquire(self) -> None:
        """Wait for a turn; a caller cancelled while it waits has used its turn up.

        Raises RateLimitedError at once when the wait would be longer than `max_wait_s` or than the deadline.
        """
        now = self._clock.monotonic()
        if self._full_at - now > self.config.max_wait_s + self.config.burst * self._interval_s + 1e-9:
            # Further ahead than anybody is let wait: the clock has gone back.
            self._full_at = now
        due = max(self._full_at, now) + self._interval_s
        wait_s = due - now - self.config.burst * self._interval_s
        # Rounding must not make a wait of the last bit of a float.
        if wait_s <= 1e-9:
            wait_s = 0.0
        deadline = current.scope().deadline
        if wait_s > self.config.max_wait_s or (deadline is not None and wait_s >= deadline.remaining() and wait_s > 0):
            self._refused += 1
            self._spell.strike()
            raise RateLimitedError(
                f"{self.name}: a call now would have to wait {wait_s:.2f} s to keep to "
                f"{self.config.per_second:g} per second; send less or allow more time",
                retry_after_s=wait_s,
            )
        self._full_at = due
        self._admitted += 1
        if self._spell.is_on:
            self._spell.ease()
        if wait_s:
            self._delayed += 1
            await self._clock.sleep(wait_s)

    def statistics(self) -> RateStatistics:
        """What it has done so far."""
        return RateStatistics(admitted=self._admitted, delayed=self._delayed, refused=self._refused)
