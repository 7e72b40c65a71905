"""Timing two or more ways of doing the same thing so that they can be compared.

The arms take turns in one process: what slows the machine for a second slows each of them, and the ratio of a round
holds although its times do not. What is reported is the median of the ratios with their spread, never a best time.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from omninode.core.clock import Clock, SystemClock
from omninode.core.errors import InvalidArgumentError

__all__ = ["Arm", "Rounds", "Spread", "interleave"]

# One way of doing it. It returns the seconds it took where it knows better than the clock outside, else None.
Arm = Callable[[], Awaitable[float | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The median of what was measured, the lowest and the highest, and how many values there were."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of `values`; raises InvalidArgumentError when there are none or one is not a number."""
        if not values or any(math.isnan(value) for value in values):
            raise InvalidArgumentError(f"no spread of {len(values)} values; measure at least one, all of them numbers")
        ordered = sorted(values)
        middle = len(ordered) // 2
        median = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
        return cls(median=median, low=ordered[0], high=ordered[-1], count=len(ordered))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """Seconds by arm, one per round and in the order of the rounds."""

    times: Mapping[str, tuple[float, ...]]

    @property
    def count(self) -> int:
        """How many rounds there were."""
        return min((len(times) for times in self.times.values()), default=0)

    def spread(self, arm: str, *, scale: float = 1.0) -> Spread:
        """The times of `arm`, times `scale` (1000 for milliseconds)."""
        return Spread.of([scale * seconds for seconds in self._of(arm)])

    def ratio(self, arm: str, to: str) -> Spread:
        """How many times as long as `to` the arm took, round by round."""
        pairs = zip(self._of(arm), self._of(to), strict=True)
        return Spread.of([mine / max(theirs, 1e-9) for mine, theirs in pairs])

    def _of(self, arm: str) -> tuple[float, ...]:
        if arm not in self.times:
            raise InvalidArgumentError(f"no arm {arm!r}; there are {', '.join(self.times)}")
        return self.times[arm]


async def interleave(
    arms: Mapping[str, Arm], *, rounds: int, budget_s: float, warm_up: int = 1, clock: Clock | None = None
) -> Rounds:
    """The times of `arms`, which take turns for `rounds` rounds.

    Args:
        arms: by name; each round begins with the next one, so that none always comes first.
        rounds: how many at most, at least 1.
        budget_s: no round begins after so many seconds, warm-up included; the first one always does.
        warm_up: rounds before them that do not count.
        clock: what times an arm that does not time itself.
    """
    if rounds < 1 or not arms:
        raise InvalidArgumentError(f"{rounds} rounds of {len(arms)} arms; run at least one round of one arm")
    ticking = clock or SystemClock()
    end = ticking.monotonic() + budget_s
    times: dict[str, list[float]] = {name: [] for name in arms}
    names = list(arms)
    for number in range(-warm_up, rounds):
        if number > 0 and ticking.monotonic() >= end:
            break
        turn = number % len(names)
        for name in (*names[turn:], *names[:turn]):
            before = ticking.monotonic()
            own = await arms[name]()
            if number >= 0:
                times[name].append(ticking.monotonic() - before if own is None else own)
    return Rounds(times={name: tuple(values) for name, values in times.items()})
