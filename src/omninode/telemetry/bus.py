"""The bus: where every event goes in, and from where consumers are fed.

Emitting appends to a bounded buffer and returns; one task takes events out and hands them to the consumers, in the
order in which they came. When the buffer is full the least telling go first: measurements and notes of progress, then
facts, and errors only when nothing but errors is left. Every event that goes is counted under its class.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from omninode.core.concurrency import cancel_and_wait
from omninode.core.deadline import Deadline
from omninode.core.errors import InvalidArgumentError
from omninode.core.events import (
    AlertChanged,
    AttemptFinished,
    Audited,
    ErrorOccurred,
    Event,
    MetricRecorded,
    PhaseStarted,
    RetryScheduled,
    RunFinished,
    RunStarted,
    TaskStarted,
)

__all__ = ["BusStatistics", "Consumer", "ConsumerStatistics", "EventBus", "Subscription"]

Consumer = Callable[[Event], Awaitable[None] | None]

_EXPENDABLE = (MetricRecorded, PhaseStarted, TaskStarted, AttemptFinished, RetryScheduled)
_VITAL = (ErrorOccurred, RunStarted, RunFinished, AlertChanged, Audited)
_EXPENDABLE_LANE, _ORDINARY_LANE, _VITAL_LANE = range(3)
# After so many events the loop gets a turn, so that a burst of telemetry never holds up a prompt.
_BURST = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerStatistics:
    """What became of one consumer's events."""

    name: str
    delivered: int
    failed: int
    dropped: int
    last_error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BusStatistics:
    """What became of the events emitted so far; `dropped` counts by class name."""

    capacity: int
    emitted: int
    delivered: int
    waiting: int
    dropped: Mapping[str, int]
    consumers: tuple[ConsumerStatistics, ...]

    @property
    def dropped_total(self) -> int:
        """Events that no consumer saw because the buffer was full or the bus was closed."""
        return sum(self.dropped.values())


@dataclass(slots=True, eq=False)
class Subscription:
    """One consumer's place on the bus; `cancel` gives it up."""

    name: str
    consumer: Consumer | None
    kinds: tuple[type[Event], ...]
    capacity: int
    timeout_s: float
    _detach: Callable[[Subscription], None]
    delivered: int = 0
    failed: int = 0
    dropped: int = 0
    last_error: str | None = None
    _queue: deque[Event] = field(default_factory=deque)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)
    _is_closed: bool = False

    def cancel(self) -> None:
        """Receive nothing more; doing it twice is harmless. An iteration over it ends."""
        self._is_closed = True
        self._arrived.set()
        self._detach(self)

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            while self._queue:
                yield self._queue.popleft()
            if self._is_closed:
                return
            self._arrived.clear()
            await self._arrived.wait()

    def statistics(self) -> ConsumerStatistics:
        """How many events it was given, failed on and lost."""
        return ConsumerStatistics(
            name=self.name,
            delivered=self.delivered,
            failed=self.failed,
            dropped=self.dropped,
            last_error=self.last_error,
        )

    async def deliver(self, event: Event) -> None:
        """Hand `event` over; a consumer that fails or hangs is counted and never stops the bus."""
        if self.kinds and not isinstance(event, self.kinds):
            return
        if self.consumer is None:
            self._enqueue(event)
            return
        try:
            result = self.consumer(event)
            if inspect.isawaitable(result):
                async with asyncio.timeout(self.timeout_s):
                    await result
        except Exception as error:  # noqa: BLE001 - border: user-supplied callback
            self.failed += 1
            self.last_error = f"{type(error).__name__}: {error}"
        else:
            self.delivered += 1

    def _enqueue(self, event: Event) -> None:
        if len(self._queue) >= self.capacity:
            self._queue.popleft()
            self.dropped += 1
        self._queue.append(event)
        self.delivered += 1
        self._arrived.set()


class EventBus:
    """An `EventSink` that feeds any number of consumers from one task.

    Open it with `async with`, or `start()` and `close()`. Emitting works before that too: the events wait. `emit` may
    be called from any thread, never waits for I/O or for a consumer, and never raises.
    """

    def __init__(self, *, capacity: int = 65_536, history: int = 512) -> None:
        """`capacity` bounds the events that wait, `history` those kept for late comers (`recent`)."""
        if capacity < 1:
            raise InvalidArgumentError(f"capacity is {capacity}; a bus holds at least one event")
        self._capacity = capacity
        self._lanes: tuple[deque[tuple[int, Event]], ...] = (deque(), deque(), deque())
        # Re-entrant, because the garbage collector may run a finaliser that emits in the middle of an emit.
        self._lock = threading.RLock()
        self._emitted = 0
        self._delivered = 0
        self._dropped: Counter[str] = Counter()
        self._subscriptions: list[Subscription] = []
        self._history: deque[Event] = deque(maxlen=history)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread = 0
        self._task: asyncio.Task[None] | None = None
        self._wake: asyncio.Event | None = None
        self._idle: asyncio.Event | None = None
        self._is_closed = False

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def start(self) -> None:
        """Begin to feed consumers, from a task of the running loop; doing it twice is harmless."""
        if self._task is not None or self._is_closed:
            return
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._wake, self._idle = asyncio.Event(), asyncio.Event()
        self._wake.set()
        self._task = self._feeding(self._wake, self._idle)

    def subscribe(
        self,
        consumer: Consumer | None = None,
        *,
        name: str = "",
        kinds: Iterable[type[Event]] = (),
        capacity: int = 1024,
        timeout_s: float = 1.0,
    ) -> Subscription:
        """Feed `consumer` every event of `kinds` (all when empty) from now on.

        A consumer is a function of one event, async or not; an async one has `timeout_s` for each event. Without a
        consumer the subscription itself is an async iterator over a queue of `capacity` that drops its oldest, counted.
        """
        subscription = Subscription(
            name=name or getattr(consumer, "__qualname__", "queue"),
            consumer=consumer,
            kinds=tuple(kinds),
            capacity=capacity,
            timeout_s=timeout_s,
            _detach=self._detach,
        )
        self._subscriptions.append(subscription)
        return subscription

    def emit(self, event: Event) -> None:
        """Take `event`; see the module for what goes when the buffer is full."""
        with self._lock:
            self._emitted += 1
            if self._is_closed:
                self._dropped[type(event).__name__] += 1
                return
            if not self._make_room(lane := _lane_of(event)):
                self._dropped[type(event).__name__] += 1
                return
            self._lanes[lane].append((self._emitted, event))
        self._signal()

    def recent(self, limit: int = 50) -> tuple[Event, ...]:
        """The last events delivered, oldest first."""
        return tuple(self._history)[-limit:]

    def statistics(self) -> BusStatistics:
        """Counts since the bus was made."""
        with self._lock:
            return BusStatistics(
                capacity=self._capacity,
                emitted=self._emitted,
                delivered=self._delivered,
                waiting=sum(map(len, self._lanes)),
                dropped=dict(self._dropped),
                consumers=tuple(subscription.statistics() for subscription in self._subscriptions),
            )

    async def drain(self, deadline: Deadline | None = None) -> bool:
        """Wait until all that was emitted has been delivered; False when the deadline (5 s) came first."""
        if self._idle is None:
            return not any(self._lanes)
        limit = deadline or Deadline.after(5.0)
        self._signal()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit.remaining()):
                while any(self._lanes) or not self._idle.is_set():
                    self._revive()
                    self._idle.clear()
                    self._signal()
                    await self._idle.wait()
                return True
        return False

    async def close(self, deadline: Deadline | None = None) -> None:
        """Deliver what waits, within `deadline` (5 s), then stop; what is left or comes later counts as dropped."""
        if self._task is not None:
            await self.drain(deadline)
        with self._lock:
            self._is_closed = True
            for lane in self._lanes:
                self._dropped.update(type(event).__name__ for _, event in lane)
                lane.clear()
        if self._task is not None:
            await cancel_and_wait([self._task])
            self._task = None
        for subscription in tuple(self._subscriptions):
            subscription.cancel()

    def _detach(self, subscription: Subscription) -> None:
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)

    def _make_room(self, lane: int) -> bool:
        if sum(map(len, self._lanes)) < self._capacity:
            return True
        for victims in self._lanes[: lane + 1]:
            # Among errors the first ones tell the cause, so the latest is refused; elsewhere the oldest goes.
            if victims and victims is not self._lanes[_VITAL_LANE]:
                self._dropped[type(victims.popleft()[1]).__name__] += 1
                return True
        return False

    def _signal(self) -> None:
        wake, loop = self._wake, self._loop
        if wake is None or loop is None or wake.is_set():
            return
        if threading.get_ident() == self._loop_thread:
            wake.set()
            return
        with contextlib.suppress(RuntimeError):  # the loop has just been closed
            loop.call_soon_threadsafe(wake.set)

    def _feeding(self, wake: asyncio.Event, idle: asyncio.Event) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(self._run(wake, idle), name="omninode-event-bus")
        # Whoever drains must not wait for a task that is no more.
        task.add_done_callback(lambda _: idle.set())
        return task

    def _revive(self) -> None:
        """Feed again when the end of the loop has cancelled the task before the bus was closed: what waits is due."""
        if self._task is not None and self._task.done() and self._wake is not None and self._idle is not None:
            self._task = self._feeding(self._wake, self._idle)

    async def _run(self, wake: asyncio.Event, idle: asyncio.Event) -> None:
        while True:
            wake.clear()
            idle.clear()
            handed = 0
            while (event := self._take()) is not None:
                for subscription in tuple(self._subscriptions):
                    await subscription.deliver(event)
                self._history.append(event)
                self._delivered += 1
                handed += 1
                if handed % _BURST == 0:
                    await asyncio.sleep(0)
            idle.set()
            await wake.wait()

    def _take(self) -> Event | None:
        with self._lock:
            lane = min(filter(None, self._lanes), key=lambda waiting: waiting[0][0], default=None)
            return None if lane is None else lane.popleft()[1]


def _lane_of(event: Event) -> int:
    if isinstance(event, _VITAL):
        return _VITAL_LANE
    return _EXPENDABLE_LANE if isinstance(event, _EXPENDABLE) else _ORDINARY_LANE
