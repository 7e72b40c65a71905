"""One piece of work for all who ask for the same thing at the same time.

The work runs in a task of its own, not in that of whoever asked first, so that every caller, the first included, may
leave at its own deadline or be cancelled while the others still get the answer. The last one to leave ends the work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from omninode.core.concurrency import cancel_and_wait
from omninode.core.deadline import within
from omninode.core.errors import DeadlineExceededError, DefectError, OmniNodeError, RefusedError

__all__ = ["FlightStatistics", "Flown", "SingleFlight"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Flown(Generic[T]):
    """What the work returned; `is_shared` when another caller had started it."""

    value: T
    is_shared: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FlightStatistics:
    """What single flight has done since it was made."""

    running: int
    started: int
    joined: int
    abandoned: int
    """Flights ended because every caller had left."""
    alone: int
    """Calls that were not coalesced, because too many flights were under way."""


class _Flight(Generic[T]):
    def __init__(self) -> None:
        self.task: asyncio.Task[T] | None = None
        self.callers = 0


class SingleFlight(Generic[T]):
    """Runs work once per key at a time. Use it from one event loop.

    Beyond `max_flights` flights under way a caller does its own work, uncoalesced and counted, rather than wait.
    """

    def __init__(self, *, max_flights: int = 10_000) -> None:
        self._flights: dict[str, _Flight[T]] = {}
        self._max_flights = max_flights
        self._started = self._joined = self._abandoned = self._alone = 0

    async def run(self, key: str, work: Callable[[], Awaitable[T]]) -> Flown[T]:
        """What `work` returns, or what the flight under way for `key` returns.

        The work runs in the scope of the caller that started it, its deadline included. When it fails in a way that
        another attempt may cure, or for want of that caller's time, those who had joined start one second flight
        between them. Raises DeadlineExceededError at the deadline of the caller's own scope.
        """
        for is_last in (False, True):
            # No wait between this look and the start: of those who joined a flight that failed, the first to get
            # here starts another and the rest find it.
            flight = self._flights.get(key)
            is_shared = flight is not None
            if flight is None and len(self._flights) >= self._max_flights:
                self._alone += 1
                return Flown(await work(), is_shared=False)
            self._joined += is_shared
            task = await self._landed(key, flight or self._start(key, work))
            if task.cancelled():
                raise RefusedError("the call was given up because everything is being closed")
            error = task.exception()
            if error is None:
                return Flown(task.result(), is_shared)
            if is_last or not is_shared or not _is_worth_another(error):
                raise error
        raise DefectError("a flight neither landed nor failed")

    def _start(self, key: str, work: Callable[[], Awaitable[T]]) -> _Flight[T]:
        flight: _Flight[T] = _Flight()

        async def fly() -> T:
            try:
                return await work()
            finally:
                # Work that keeps its result in a cache has done so by now: nobody falls between the two.
                self._forget(key, flight)

        self._started += 1
        self._flights[key] = flight
        flight.task = asyncio.create_task(fly(), name=f"flight {key[:12]}")
        flight.task.add_done_callback(_seen)
        return flight

    async def _landed(self, key: str, flight: _Flight[T]) -> asyncio.Task[T]:
        """The task of the flight, ended; waits for it as long as this caller may."""
        task = flight.task
        assert task is not None
        flight.callers += 1
        try:
            async with within(None, doing="waiting for an identical call"):
                await asyncio.wait({task})
        finally:
            flight.callers -= 1
            if flight.callers == 0 and not task.done():
                self._abandoned += 1
                self._forget(key, flight)
                await cancel_and_wait([task])
        return task

    def _forget(self, key: str, flight: _Flight[T]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]

    def statistics(self) -> FlightStatistics:
        """What it has done so far."""
        return FlightStatistics(
            running=len(self._flights),
            started=self._started,
            joined=self._joined,
            abandoned=self._abandoned,
            alone=self._alone,
        )

    async def close(self) -> None:
        """End every flight; those who wait get RefusedError. Closing twice is harmless."""
        flights, self._flights = self._flights, {}
        await cancel_and_wait([flight.task for flight in flights.values() if flight.task is not None])


def _is_worth_another(error: BaseException) -> bool:
    return isinstance(error, DeadlineExceededError) or (isinstance(error, OmniNodeError) and error.retryable)


def _seen(task: asyncio.Task[T]) -> None:
    """Look at the error of a flight whose callers have all left, so that asyncio does not report it."""
    if not task.cancelled():
        task.exception()
