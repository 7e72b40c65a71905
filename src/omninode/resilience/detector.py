"""When a closed breaker has seen enough failures to open.

A detector sees one outcome after another and says when to trip. Its settings (a `DetectorSpec`) are a frozen value
that belongs in a configuration; what it has counted so far (a `Detector`) belongs to one breaker.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from omninode.core.clock import Clock
from omninode.core.errors import InvalidArgumentError
from omninode.resilience.ranges import require_count, require_share
from omninode.resilience.sensitivity import Sensitivity

__all__ = ["CALM_SUCCESSES", "Consecutive", "Detector", "DetectorSpec", "Sequential"]

CALM_SUCCESSES = 50
"""After so many successes a target counts as well again."""

# The share of its height that a score needs to reach while sensitised.
_WARY = 0.75


class Detector(Protocol):
    """What one breaker has counted while closed. Never waits, never raises."""

    def succeeded(self, took_s: float) -> bool:
        """Count a success; True when the breaker should open now, which only a slow one can mean."""
        ...

    def failed(self, took_s: float) -> bool:
        """Count a failure; True when the breaker should open now."""
        ...

    def sensitise(self, lasts_s: float) -> None:
        """Trip on less evidence for the next `lasts_s` seconds; 0 ends that.

        For when the same target fails elsewhere. It trips nothing by itself, however much was counted before: that
        takes one more call that goes badly.
        """
        ...

    @property
    def is_sensitised(self) -> bool:
        """Whether less evidence is enough now."""
        ...

    def reset(self) -> None:
        """Forget everything, what was heard from elsewhere included."""
        ...

    @property
    def is_calm(self) -> bool:
        """Whether counting a success would change nothing, so that it may be left out."""
        ...

    @property
    def reason(self) -> str:
        """Why it trips, for people: "5 failures in a row"."""
        ...


class DetectorSpec(Protocol):
    """The settings of a detector."""

    @property
    def is_timed(self) -> bool:
        """Whether it wants to know how long calls took; else it is told 0.0 and nobody looks at the clock."""
        ...

    def start(self, clock: Clock) -> Detector:
        """A detector that has seen nothing yet."""
        ...


@dataclass(frozen=True, slots=True)
class Consecutive:
    """Trips after `threshold` failures with no success between them (the document's rule).

    Simple, quick in a hard outage, and wrong for a partial one: at a steady 40 % of failures 5 in a row come about
    every 160 calls, and each opening then refuses calls of which 60 % would have succeeded. See `Sequential`.

    Sensitised, half of `threshold` is enough, rounded up.
    """

    threshold: int = 5

    def __post_init__(self) -> None:
        require_count("Consecutive", "threshold", self.threshold, at_least=1)

    @property
    def is_timed(self) -> bool:
        """See `DetectorSpec.is_timed`."""
        return False

    def start(self, clock: Clock) -> Detector:
        """See `DetectorSpec.start`."""
        return _Run(self.threshold, clock)


class _Run:
    __slots__ = ("_failures", "_sensitivity", "_threshold", "is_calm")

    def __init__(self, threshold: int, clock: Clock) -> None:
        self._threshold = threshold
        self._sensitivity = Sensitivity(clock)
        self._failures = 0
        self.is_calm = True

    def succeeded(self, took_s: float) -> bool:  # noqa: ARG002 - this rule knows no time
        self._failures = 0
        self.is_calm = True
        return False

    def failed(self, took_s: float) -> bool:  # noqa: ARG002 - this rule knows no time
        self._failures += 1
        self.is_calm = False
        needed = (self._threshold + 1) // 2 if self._sensitivity.is_on else self._threshold
        return self._failures >= needed

    def sensitise(self, lasts_s: float) -> None:
        self._sensitivity.set(lasts_s)

    @property
    def is_sensitised(self) -> bool:
        return self._sensitivity.is_on

    def reset(self) -> None:
        self._failures = 0
        self.is_calm = True
        self._sensitivity.set(0.0)

    @property
    def reason(self) -> str:
        return f"{self._failures} failures in a row{self._sensitivity.note}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequential:
    """Trips when failures at rate `p1` explain what was seen better than at rate `p0` (a CUSUM test).

    The score is a log-likelihood ratio cut off at zero: each failure adds ln(p1/p0), each success adds
    ln((1-p1)/(1-p0)), which is negative; it trips at `ln(false_trip_calls)`. For independent outcomes that fail at
    rate p0 or less, false trips are at least `false_trip_calls` calls apart on average (the mean of e^step is at most
    1, so one excursion reaches the height h with probability at most e^-h). Correlated failures trip it sooner.

    With the defaults a hard outage trips it after 16 failures, and it stays closed on purpose below about 78 %
    failures, where retries serve the caller better than refusals. (0.3, 0.9) suits a target with a healthy alternate.

    Sensitised, three quarters of the height are enough: 12 failures instead of 16, for false trips at least
    `false_trip_calls ** 0.75` calls apart (1,808) for as long as that lasts. Half of it would have processes that share a
    half-broken target refuse several times as many calls as each by itself; a test of `peers` holds the difference.

    `sudden_trip_calls` is the bound for failures that follow on 50 successes in a row, or on nothing: less evidence
    will do there, for what failed that suddenly is hardly a target that always fails at rate p0, and each of these
    stretches gives one such chance only.
    """

    p0: float = 0.5
    p1: float = 0.95
    false_trip_calls: float = 22_026.0
    sudden_trip_calls: float | None = None

    def __post_init__(self) -> None:
        require_share("Sequential", "p0", self.p0)
        require_share("Sequential", "p1", self.p1)
        if not 0.0 < self.p0 < self.p1 < 1.0:
            raise InvalidArgumentError(f"Sequential: p0 is {self.p0!r}, p1 is {self.p1!r}; pass 0 < p0 < p1 < 1")
        require_share("Sequential", "false_trip_calls", self.false_trip_calls, low=2.0, high=1e300)
        sudden = self.sudden_trip_calls
        if sudden is not None:
            require_share("Sequential", "sudden_trip_calls", sudden, low=1.0, high=self.false_trip_calls)

    @property
    def is_timed(self) -> bool:
        """See `DetectorSpec.is_timed`."""
        return False

    def start(self, clock: Clock) -> Detector:
        """See `DetectorSpec.start`."""
        height = math.log(self.false_trip_calls)
        sudden = height if self.sudden_trip_calls is None else math.log(self.sudden_trip_calls)
        return _Score(up=self.up, down=self.down, height=height, sudden=sudden, clock=clock)

    @property
    def up(self) -> float:
        """What a failure adds to the score."""
        return math.log(self.p1 / self.p0)

    @property
    def down(self) -> float:
        """What a success adds to the score; negative."""
        return math.log((1 - self.p1) / (1 - self.p0))


class _Score:
    __slots__ = ("_down", "_height", "_is_sudden", "_score", "_sensitivity", "_streak", "_sudden", "_up", "is_calm")

    def __init__(self, *, up: float, down: float, height: float, sudden: float, clock: Clock) -> None:
        self._sensitivity = Sensitivity(clock)
        self._up = up
        self._down = down
        self._height = height
        self._sudden = sudden
        self._score = 0.0
        self._streak = 0
        # Whether the failures that come next, or are being counted, follow on a calm stretch.
        self._is_sudden = True
        self.is_calm = True

    def succeeded(self, took_s: float) -> bool:  # noqa: ARG002 - this rule knows no time
        if self._score:
            self._score = max(0.0, self._score + self._down)
            if not self._score:
                # This stretch is over, and with it the one chance to trip on less.
                self._is_sudden = self._sudden == self._height
        self._streak += 1
        if self._streak >= CALM_SUCCESSES:
            self._is_sudden = True
        self.is_calm = self._is_sudden and not self._score
        return False

    def failed(self, took_s: float) -> bool:  # noqa: ARG002 - this rule knows no time
        self._score += self._up
        self._streak = 0
        self.is_calm = False
        return self._score >= self._needed

    def sensitise(self, lasts_s: float) -> None:
        self._sensitivity.set(lasts_s)

    @property
    def is_sensitised(self) -> bool:
        return self._sensitivity.is_on

    def reset(self) -> None:
        self._score = 0.0
        self._streak = 0
        self._is_sudden = self._sudden == self._height
        self.is_calm = self._is_sudden
        self._sensitivity.set(0.0)

    @property
    def reason(self) -> str:
        return f"failure score {self._score:.1f} reached {self._needed:.1f}{self._sensitivity.note}"

    @property
    def _needed(self) -> float:
        needed = self._sudden if self._is_sudden else self._height
        return min(needed, _WARY * self._height) if self._sensitivity.is_on else needed
