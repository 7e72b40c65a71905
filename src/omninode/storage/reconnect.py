"""One try at a time to reach a server that is away, however many callers want a connection.

While the server is there, everybody connects freely. After a try that failed there is a pause, growing and jittered;
who asks in it is refused at once and told how long it lasts. After it one caller tries, and those who come meanwhile
wait for how that ends: a success lets all of them in, a failure begins the next pause.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from omninode.core.clock import Clock
from omninode.core.errors import DatabaseUnavailableError
from omninode.resilience.backoff import backoff_bound_s, draw_wait_s

__all__ = ["Reconnect"]

T = TypeVar("T")

_FIRST_PAUSE_S = 0.1
# An embedded server is back some seconds after it died; nobody should be kept from it for much longer than that.
_LONGEST_PAUSE_S = 5.0


class Reconnect:
    """The way to one server, for all who connect to it from one pool; `failed` counts tries that did not get there."""

    def __init__(self, *, clock: Clock, rng: random.Random | None = None) -> None:
        self._clock = clock
        self._random = rng or random.Random()  # noqa: S311 - jitter, not a secret
        self._failures_in_a_row = 0
        self._again_at = 0.0
        self._trouble = ""
        self._trying: asyncio.Event | None = None
        self.failed = 0

    async def through(self, connect: Callable[[], Awaitable[T]]) -> T:
        """What `connect` gives.

        `connect` raises DatabaseUnavailableError when the server is away; any other error shows that it is there.
        Raises DatabaseUnavailableError with `retry_after_s`, without calling `connect`, during a pause.
        """
        while self._failures_in_a_row and self._trying is not None:
            await self._trying.wait()
        if not self._failures_in_a_row:
            return await self._try(connect)
        pause_s = self._again_at - self._clock.monotonic()
        if pause_s > 0:
            raise DatabaseUnavailableError(
                f"{self._trouble} (not tried again yet; next in {pause_s:.1f} s)", retry_after_s=pause_s
            )
        self._trying = asyncio.Event()
        try:
            return await self._try(connect)
        finally:
            # Also when the one who tries is cancelled: then one of those who wait tries instead.
            self._trying.set()
            self._trying = None

    async def _try(self, connect: Callable[[], Awaitable[T]]) -> T:
        try:
            connection = await connect()
        except DatabaseUnavailableError as error:
            self._note(error)
            raise
        except Exception:
            self._failures_in_a_row = 0
            raise
        self._failures_in_a_row = 0
        return connection

    def _note(self, error: DatabaseUnavailableError) -> None:
        self.failed += 1
        now = self._clock.monotonic()
        if now < self._again_at:
            return  # one of several that were under way when the first of them failed
        self._failures_in_a_row += 1
        bound_s = backoff_bound_s(
            self._failures_in_a_row, base_s=_FIRST_PAUSE_S, multiplier=2.0, max_s=_LONGEST_PAUSE_S
        )
        # From half of it on: what restarts together should not come back together, nor at once.
        self._again_at = now + bound_s / 2 + draw_wait_s(bound_s / 2, jitter=True, floor_s=None, rng=self._random)
        self._trouble = error.message
