"""A deadline: one absolute moment that a whole request shares, however many waits, retries and fallbacks it holds.

A timeout is a length and restarts with every attempt; a deadline is a moment and does not. It lives in
`core.current`, is narrowed on the way in and never widened.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from omninode.core import current
from omninode.core.clock import Clock, SystemClock
from omninode.core.errors import DeadlineExceededError, InvalidArgumentError

__all__ = ["DEADLINE_HEADER", "Deadline", "within"]

DEADLINE_HEADER = "x-deadline-ms"
"""The HTTP header in which the time that is left travels, in whole milliseconds. A moment would need clocks that agree."""

# 31 years: more is a mistake, and the bound keeps the number from growing without end.
_MOST_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on `clock.monotonic()`, in seconds."""

    at: float
    clock: Clock = field(default_factory=SystemClock, compare=False, repr=False)

    @classmethod
    def after(cls, seconds: float, *, clock: Clock | None = None) -> Deadline:
        """The moment `seconds` from now; raises InvalidArgumentError when that is negative or not a number."""
        if math.isnan(seconds) or seconds < 0:
            raise InvalidArgumentError(f"a deadline lies {seconds} s ahead; pass zero or more seconds")
        ticking = clock or SystemClock()
        return cls(ticking.monotonic() + seconds, ticking)

    @classmethod
    def from_header(cls, value: str, *, clock: Clock | None = None) -> Deadline:
        """The deadline that `header` told of, from now on; raises InvalidArgumentError for anything else.

        What the way here took is not known and not taken off.
        """
        text = value.strip()
        if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
            raise InvalidArgumentError(f"{DEADLINE_HEADER} is {value[:40]!r}; send whole milliseconds, zero or more")
        return cls.after(int(text) / 1000, clock=clock)

    def header(self) -> str:
        """What remains, as the value of the header, rounded down; the most that it can say where more remains."""
        return str(min(int(self.remaining() * 1000), 10**_MOST_DIGITS - 1))

    def remaining(self) -> float:
        """Seconds left; 0.0 once it has passed."""
        return max(0.0, self.at - self.clock.monotonic())

    @property
    def has_passed(self) -> bool:
        """Whether no time is left."""
        return self.clock.monotonic() >= self.at

    def narrowed(self, other: Deadline | None) -> Deadline:
        """The earlier of the two; this one when `other` is None."""
        return other if other is not None and other.remaining() < self.remaining() else self

    def cap(self, seconds: float) -> float:
        """`seconds`, but never more than what remains."""
        return min(seconds, self.remaining())


@asynccontextmanager
async def within(deadline: Deadline | None, *, doing: str) -> AsyncIterator[None]:
    """Run the body under the earlier of `deadline` and the scope's, and make it the scope's.

    Raises DeadlineExceededError, naming `doing`, when the moment comes first; a body that has not begun when the
    deadline has passed already is not begun. Without any deadline the body runs unlimited. A cancellation from
    outside stays a cancellation (`asyncio.timeout` keeps the two apart; `asyncio.wait_for` on 3.11 does not).
    """
    with current.entered(deadline=deadline) as scope:
        effective = scope.deadline
        if effective is None:
            yield
            return
        allowed = effective.remaining()
        if allowed <= 0:
            raise DeadlineExceededError(f"{doing}: no time was left to begin; allow a longer deadline")
        limit = asyncio.timeout(allowed)
        try:
            async with limit:
                yield
        except TimeoutError as error:
            # The body may raise a TimeoutError of its own; only ours becomes a passed deadline.
            if not limit.expired() or isinstance(error, DeadlineExceededError):
                raise
            raise DeadlineExceededError(f"{doing}: not finished within {allowed:.1f} s; allow more time") from error
