"""A bulkhead: a cap on how many calls to one target run at once, with a bounded waiting line.

First come, first served: a permit that comes free is handed to the longest waiter, never to a newcomer. A waiter that
is cancelled at the moment its permit arrives hands it on, so permits are neither lost nor made. One event loop only.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from inspect import isawaitable
from types import CoroutineType
from typing import ParamSpec, TypeVar

from omninode.core import current
from omninode.core.clock import Clock, SystemClock
from omninode.core.errors import BulkheadFullError, DeadlineExceededError, DefectError
from omninode.core.events import EventSink
from omninode.resilience.loops import settled
from omninode.resilience.ranges import require_count, require_seconds
from omninode.resilience.telling import Spell

__all__ = ["Bulkhead", "BulkheadConfig", "BulkheadStatistics"]

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkheadConfig:
    """The cap and its waiting line.

    Args:
        max_concurrent: calls that run at once, at least 1.
        max_queue: callers that may wait, 0 for none; one more is refused.
        queue_timeout_s: the longest wait in seconds; None for as long as the deadline of the scope allows.
    """

    max_concurrent: int = 10
    max_queue: int = 100
    queue_timeout_s: float | None = None

    def __post_init__(self) -> None:
        require_count("BulkheadConfig", "max_concurrent", self.max_concurrent, at_least=1)
        require_count("BulkheadConfig", "max_queue", self.max_queue, at_least=0)
        if self.queue_timeout_s is not None:
            require_seconds("BulkheadConfig", "queue_timeout_s", self.queue_timeout_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkheadStatistics:
    """How full it is, and what it has done since it was made."""

    name: str
    running: int
    waiting: int
    most_waiting: int
    admitted: int
    rejected: int
    timed_out: int


class Bulkhead:
    """At most `max_concurrent` calls at once to the target called `name`; `part` is what its events call it."""

    def __init__(
        self,
        name: str,
        config: BulkheadConfig | None = None,
        *,
        clock: Clock | None = None,
        sink: EventSink | None = None,
        part: str = "bulkhead",
    ) -> None:
        self.name = name
        self.config = config or BulkheadConfig()
        self._spell = Spell(sink, clock or SystemClock(), metric="rejected_count", name=name, part=part)
        # A free permit means that nobody waits: `release` hands a permit on while anybody does.
        # After it was made smaller it may be below zero, until enough calls have ended.
        self._size = self._free = self.config.max_concurrent
        self._waiting: OrderedDict[asyncio.Future[None], None] = OrderedDict()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._most_waiting = self._admitted = self._rejected = self._timed_out = 0

    async def call(self, func: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """What `func(*args, **kwargs)` returns, run with one of the permits. Raises as `acquire` does."""
        if self._free > 0 and asyncio.get_running_loop() is self._loop:
            self._take()
        else:
            await self.acquire()
        try:
            result = func(*args, **kwargs)
            if result.__class__ is CoroutineType or isawaitable(result):
                return await result
            return result
        finally:
            self.release()

    async def acquire(self) -> None:
        """Take a permit, waiting in line for it; give it back with `release`.

        Raises:
            BulkheadFullError: the line is full, or the wait took longer than `queue_timeout_s`.
            DeadlineExceededError: the deadline of the scope came first.
            InvalidArgumentError: it is used on another event loop, which is running.
        """
        self._loop = settled(self.name, self._loop)
        if self._free > 0:
            self._take()
            return
        if len(self._waiting) >= self.config.max_queue:
            self._rejected += 1
            self._spell.strike()
            raise BulkheadFullError(
                f"bulkhead {self.name!r}: all {self._size} permits are taken and "
                f"{len(self._waiting)} callers wait; send less at once or raise max_concurrent or max_queue"
            )
        await self._wait()

    def release(self) -> None:
        """Give a permit back; the longest waiter has it at once."""
        if self._free >= self._size:
            raise DefectError(f"bulkhead {self.name!r}: a permit was released twice")
        self._free += 1
        self._hand_on()

    def resize(self, permits: int) -> None:
        """Have so many permits from now on; calls under way keep theirs when there are to be fewer."""
        require_count("Bulkhead", "permits", permits, at_least=1)
        self._free += permits - self._size
        self._size = permits
        self._hand_on()

    def _hand_on(self) -> None:
        while self._free > 0 and self._waiting:
            waiter, _ = self._waiting.popitem(last=False)
            if not waiter.done():
                self._take()
                waiter.set_result(None)

    def statistics(self) -> BulkheadStatistics:
        """How full it is, and what it has done."""
        return BulkheadStatistics(
            name=self.name,
            running=self._size - self._free,
            waiting=len(self._waiting),
            most_waiting=self._most_waiting,
            admitted=self._admitted,
            rejected=self._rejected,
            timed_out=self._timed_out,
        )

    def _take(self) -> None:
        self._free -= 1
        self._admitted += 1
        if self._spell.is_on:
            self._spell.ease()

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        allowed, error = self._patience()
        timer = None if allowed is None else loop.call_later(allowed, self._expire, waiter, error)
        self._waiting[waiter] = None
        self._most_waiting = max(self._most_waiting, len(self._waiting))
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                # The permit came in the same turn of the loop as the cancellation.
                self._admitted -= 1
                self.release()
            raise
        finally:
            self._waiting.pop(waiter, None)
            if timer is not None:
                timer.cancel()

    def _patience(self) -> tuple[float | None, Exception]:
        """How long to wait in line (None: for ever), and what to raise after that."""
        own = self.config.queue_timeout_s
        deadline = current.scope().deadline
        if deadline is not None:
            remaining = deadline.remaining()
            if own is None or remaining <= own:
                return remaining, DeadlineExceededError(
                    f"bulkhead {self.name!r}: the deadline came while waiting for a permit; allow more time"
                )
        return own, BulkheadFullError(
            f"bulkhead {self.name!r}: no permit came free within {own} s; send less at once or raise max_concurrent"
        )

    def _expire(self, waiter: asyncio.Future[None], error: Exception) -> None:
        if not waiter.done():
            self._timed_out += 1
            self._spell.strike()
            waiter.set_exception(error)
