"""Where time comes from.

Code that waits or measures takes a `Clock`, so that tests run on a clock of their own and a step of the wall clock
never opens a breaker. Durations come from `monotonic`; `now` is only for what is stored and shown.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """A source of time and of waiting."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; never goes back."""
        ...

    def now(self) -> datetime:
        """The moment in UTC, aware of its zone."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds` (at once, after one turn of the loop, when that is not positive)."""
        ...


class SystemClock:
    """The machine's clock. It holds no state, so any number of instances agree."""

    __slots__ = ()

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return time.monotonic()

    def now(self) -> datetime:
        """See `Clock.now`."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """See `Clock.sleep`."""
        await asyncio.sleep(max(0.0, seconds))
