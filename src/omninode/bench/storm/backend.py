"""A backend that plays its spans: how long an attempt takes, whether it fails, and what all of them came to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from omninode.bench.storm.spans import Span

__all__ = ["Attempt", "Backend"]

# Healthy answers are lognormal: their median in seconds, and the spread of their logarithm.
MEDIAN_S, SIGMA = 0.1, 0.35
# An error is told sooner than an answer is made.
_ERROR_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Attempt:
    """What is to happen with one attempt; an infinite `takes_s` is an answer that never comes."""

    takes_s: float
    fails: bool


class Backend:
    """Plays `spans`, with luck of its own; ask it in the order of time.

    Above its capacity attempts queue, first come first served, and those whose caller has gone are served all the
    same: that is how an overload outlives its cause.
    """

    def __init__(self, spans: Sequence[Span], *, luck: Random) -> None:
        self.spans = tuple(spans)
        self.attempts = 0
        self.good = 0
        self.dropped = 0
        """Attempts whose caller left before their time and through no fault of this backend, such as lost hedges."""
        self._luck = luck
        self._place = 0
        self._waiting = 0.0
        self._counted_at = 0.0

    @property
    def bad(self) -> int:
        """Attempts that arrived and came to nothing."""
        return self.attempts - self.good - self.dropped

    def attempt(self, at_s: float) -> Attempt:
        """What happens with an attempt that arrives at `at_s`."""
        self.attempts += 1
        span = self.span(at_s)
        takes_s = self._luck.lognormvariate(math.log(MEDIAN_S), SIGMA) * span.slowness
        fails = self._luck.random() < span.error_rate
        if span.hangs:
            return Attempt(math.inf, fails=True)
        if span.capacity is not None:
            takes_s += self._queued(at_s)
        return Attempt(takes_s * _ERROR_SHARE if fails else takes_s, fails=fails)

    def span(self, at_s: float) -> Span:
        """The span of `at_s`, which does not lie before a moment asked for earlier."""
        while self.spans[self._place].ends_s <= at_s:
            self._place += 1
        return self.spans[self._place]

    def _queued(self, at_s: float) -> float:
        """Join the queue: the seconds until those before have been served, at the capacities of the time to come."""
        self._waiting -= min(self._waiting, self._served(self._counted_at, at_s))
        self._counted_at = at_s
        left, now_s = self._waiting, at_s
        self._waiting += 1.0
        for span in self.spans[self._place :]:
            rate = span.capacity or math.inf
            if left <= rate * (span.ends_s - now_s):
                return now_s + left / rate - at_s
            left -= rate * (span.ends_s - now_s)
            now_s = span.ends_s
        return now_s - at_s

    def _served(self, since_s: float, until_s: float) -> float:
        """How many attempts it can have served in that time."""
        served, now_s = 0.0, since_s
        for span in self.spans:
            if span.ends_s > now_s:
                ends_s = min(span.ends_s, until_s)
                served += (span.capacity or math.inf) * (ends_s - now_s)
                now_s = ends_s
                if now_s >= until_s:
                    break
        return served
