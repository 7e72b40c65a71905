"""A client-side throttle: send less to a target that accepts little ("Handling Overload", Google SRE book, chapter 21).

Of `R` calls in the window of which `A` were accepted, a call is refused here with probability (R - K*A) / (R + 1).
An option, not a default: after a hard outage it goes on refusing until the window has passed.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from omninode.core.clock import Clock, SystemClock
from omninode.core.errors import RateLimitedError
from omninode.core.events import EventSink
from omninode.resilience.called import called
from omninode.resilience.classify import FAILURES, Classifier, classify, outcome_of
from omninode.resilience.ranges import require_seconds, require_share
from omninode.resilience.telling import Spell
from omninode.resilience.window import TimeWindow

__all__ = ["Throttle", "ThrottleStatistics", "Throttling"]

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttle:
    """When to refuse, with RateLimitedError.

    Args:
        factor: K above, 1 to 100; at 2 nothing is refused while at least half of the calls are accepted.
        most: the highest probability, 0 to 0.99; what is left over finds out that the target is back.
        seconds: the window. It must be longer than the longest call, or an outage is forgotten before it is noticed.
    """

    factor: float = 2.0
    most: float = 0.9
    seconds: float = 120.0

    def __post_init__(self) -> None:
        require_share("Throttle", "factor", self.factor, low=1.0, high=100.0)
        require_share("Throttle", "most", self.most, high=0.99)
        require_seconds("Throttle", "seconds", self.seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThrottleStatistics:
    """What a throttle has done since it was made, and what it sees now."""

    admitted: int
    refused: int
    probability: float
    """With which the next call is refused."""
    window_calls: int
    """Calls in the window, refused ones included."""


class Throttling:
    """Refuses a share of the calls to the target called `name`."""

    def __init__(
        self,
        name: str,
        config: Throttle,
        *,
        clock: Clock | None = None,
        sink: EventSink | None = None,
        classify: Classifier = classify,
        seed: int | None = None,
    ) -> None:
        self.name = name
        self.config = config
        self._classify = classify
        clock = clock or SystemClock()
        self._random = random.Random(seed)  # noqa: S311 - shedding load, not a secret
        self._window = TimeWindow(config.seconds, clock)
        self._spell = Spell(sink, clock, metric="rejected_count", name=name, part="throttle")
        self._admitted = self._refused = 0

    @property
    def probability(self) -> float:
        """With which the next call is refused."""
        calls = self._window.total
        accepted = calls - self._window.bad
        return min(self.config.most, max(0.0, (calls - self.config.factor * accepted) / (calls + 1)))

    async def call(self, func: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """What `func(*args, **kwargs)` returns. Raises RateLimitedError when refused, with `func` untouched."""
        if self._random.random() < self.probability:
            # A refused call counts as asked for, which keeps the refusals going while nothing is accepted.
            self._window.add(is_bad=True)
            self._refused += 1
            self._spell.strike()
            raise RateLimitedError(f"{self.name}: refused here, because it accepts few calls now; try again later")
        self._admitted += 1
        if self._spell.is_on:
            self._spell.ease()
        try:
            value = await called(func, *args, **kwargs)
        except Exception as error:
            if outcome_of(self._classify, error) in FAILURES:
                self._window.add(is_bad=True)
            raise
        self._window.add(is_bad=False)
        return value

    def statistics(self) -> ThrottleStatistics:
        """What it has done so far."""
        return ThrottleStatistics(
            admitted=self._admitted,
            refused=self._refused,
            probability=self.probability,
            window_calls=self._window.total,
        )
