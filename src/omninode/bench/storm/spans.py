"""What a backend does when: stretches of time with their faults, fixed or drawn from a seed.

Every pattern of faults here is a row of spans that follow each other without a gap, so that one backend plays them
all, and two arms that are given the same seed meet the same faults at the same moments.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random

from omninode.core.errors import InvalidArgumentError

__all__ = ["HEALTHY", "Course", "Span", "bursts", "always", "during", "is_savable"]

# From this share of errors on a moment is no good moment.
_BAD = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """How a backend is until `ends_s`: the share of attempts that fail, whether it answers at all, and how fast.

    `slowness` multiplies the time of every answer; `capacity` is how many attempts a second it can serve, beyond which
    they queue (None: any number).
    """

    ends_s: float = math.inf
    error_rate: float = 0.0
    hangs: bool = False
    slowness: float = 1.0
    capacity: float | None = None

    def __post_init__(self) -> None:
        if (
            not 0.0 <= self.error_rate <= 1.0
            or self.slowness <= 0
            or (self.capacity is not None and self.capacity <= 0)
        ):
            raise InvalidArgumentError(
                f"{self}: error_rate is a share from 0 to 1, slowness and capacity are more than zero"
            )

    @property
    def is_good(self) -> bool:
        """Whether an attempt in it most likely succeeds."""
        return not self.hangs and self.error_rate < _BAD


HEALTHY = Span()

Course = Callable[[Random], tuple[Span, ...]]
"""Draws the spans of one backend in one trial."""


def always(span: Span = HEALTHY) -> Course:
    """`span` from beginning to end."""
    return lambda _: (replace(span, ends_s=math.inf),)


def during(begins_s: float, ends_s: float, span: Span, *, otherwise: Span = HEALTHY) -> Course:
    """`span` from `begins_s` to `ends_s`, `otherwise` before and after."""
    if not 0 <= begins_s < ends_s:
        raise InvalidArgumentError(f"a fault from {begins_s} s to {ends_s} s; it begins at 0 or later, then ends")
    spans = (
        replace(otherwise, ends_s=begins_s),
        replace(span, ends_s=ends_s),
        replace(otherwise, ends_s=math.inf),
    )
    return lambda _: spans


def bursts(mean_s: float, *, every_s: float, until_s: float) -> Course:
    """A good state (1 % errors) and a bad one (95 %) that take turns, with exponential lengths (Gilbert-Elliott).

    `mean_s` is the mean length of a burst, `every_s` the mean time from one to the next.
    """
    if not 0 < mean_s < every_s:
        raise InvalidArgumentError(f"bursts of {mean_s} s every {every_s} s; make them shorter than the time between")

    def drawn(luck: Random) -> tuple[Span, ...]:
        spans: list[Span] = []
        at, is_bad = 0.0, False
        while at < until_s:
            at += luck.expovariate(1.0 / (mean_s if is_bad else every_s - mean_s))
            spans.append(Span(ends_s=at, error_rate=0.95 if is_bad else 0.01))
            is_bad = not is_bad
        return (*spans[:-1], replace(spans[-1], ends_s=math.inf))

    return drawn


def is_savable(spans: Sequence[Span], arrives_s: float, *, until_s: float) -> bool:
    """Whether a good moment lies between `arrives_s` and `until_s`: a call that has none cannot be saved by waiting."""
    begins_s = 0.0
    for span in spans:
        if begins_s > until_s:
            return False
        if span.ends_s > arrives_s and span.is_good:
            return True
        begins_s = span.ends_s
    return False
