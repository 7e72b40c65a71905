"""Running many things at once without losing any of them.

`asyncio.gather` has no limit, no deadline, and leaves its siblings running when one raises. The functions here start
at most `limit` at a time, end at the deadline, cancel what is still running and wait for it: when they return or
raise, no task of theirs is alive.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar, cast

from omninode.core.deadline import Deadline
from omninode.core.errors import DeadlineExceededError, InvalidArgumentError, OmniNodeError

__all__ = ["Settled", "cancel_and_wait", "gather_settled", "map_bounded", "race"]

T = TypeVar("T")
S = TypeVar("S")

Status = Literal["ok", "failed", "late", "stopped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled(Generic[T]):
    """How one of many ended: its value, or the error that took its place.

    `late` means the deadline came first, `stopped` that it was no longer needed; neither says anything about the
    thing that was called.
    """

    status: Status
    value: T | None = None
    error: BaseException | None = None

    @property
    def is_ok(self) -> bool:
        """Whether it ended with a value."""
        return self.status == "ok"

    def unwrap(self) -> T:
        """The value, or raise the error it ended with."""
        if self.status == "ok":
            return cast("T", self.value)
        raise self.error or OmniNodeError(f"no value: {self.status}")


async def gather_settled(
    calls: Sequence[Callable[[], Awaitable[T]]],
    *,
    limit: int | None = None,
    deadline: Deadline | None = None,
    stop_when: Callable[[Sequence[Settled[T] | None]], bool] | None = None,
) -> list[Settled[T]]:
    """How each of `calls` ended, in their order.

    Args:
        calls: functions without arguments that return awaitables; one that is never started costs nothing.
        limit: how many run at once; None for all.
        deadline: what has not ended by then is cancelled and reported as `late`.
        stop_when: asked after each ending with what is known so far (None for what still runs); True cancels the
            rest, reported as `stopped`.

    Raises only what cancels the caller; every failure of a call is in its `Settled`.
    """
    if limit is not None and limit < 1:
        raise InvalidArgumentError(f"limit is {limit}; allow at least one call at a time")
    group = _Group(calls, limit or max(1, len(calls)))
    return await group.run(deadline, stop_when)


class _Group(Generic[T]):
    """One fan-out: what waits, what runs, what has ended."""

    def __init__(self, calls: Sequence[Callable[[], Awaitable[T]]], limit: int) -> None:
        self._waiting = list(enumerate(calls))[::-1]
        self._limit = limit
        self._running: dict[asyncio.Task[T], int] = {}
        self._settled: list[Settled[T] | None] = [None] * len(calls)

    async def run(
        self, deadline: Deadline | None, stop_when: Callable[[Sequence[Settled[T] | None]], bool] | None
    ) -> list[Settled[T]]:
        left_over: Status = "stopped"
        try:
            self._start()
            while self._running:
                timeout = None if deadline is None else deadline.remaining()
                done, _ = await asyncio.wait(self._running, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                self._settle(done)
                if deadline is not None and deadline.has_passed and (self._running or self._waiting):
                    left_over = "late"
                    break
                if stop_when is not None and stop_when(self._settled):
                    break
                self._start()
        finally:
            await cancel_and_wait(self._running)
        return [entry or _unfinished(left_over) for entry in self._settled]

    def _start(self) -> None:
        while self._waiting and len(self._running) < self._limit:
            index, call = self._waiting.pop()
            self._running[asyncio.ensure_future(_awaited(call))] = index

    def _settle(self, done: Iterable[asyncio.Task[T]]) -> None:
        for task in done:
            index = self._running.pop(task)
            self._settled[index] = _outcome(task)


async def _awaited(call: Callable[[], Awaitable[T]]) -> T:
    return await call()


def _outcome(task: asyncio.Task[T]) -> Settled[T]:
    if task.cancelled():
        # Nobody outside holds the task, so it cancelled itself: a failure like another.
        return Settled(status="failed", error=asyncio.CancelledError("the call cancelled itself"))
    error = task.exception()
    if error is None:
        return Settled(status="ok", value=task.result())
    if not isinstance(error, Exception):
        raise error
    return Settled(status="failed", error=error)


def _unfinished(status: Status) -> Settled[Any]:
    if status == "late":
        return Settled(status=status, error=DeadlineExceededError("not finished when the deadline came"))
    return Settled(status=status)


async def map_bounded(
    function: Callable[[S], Coroutine[Any, Any, T]],
    items: Iterable[S],
    *,
    limit: int,
    deadline: Deadline | None = None,
) -> list[Settled[T]]:
    """How `function` ended for each item, in their order; at most `limit` at a time."""
    return await gather_settled([_bound(function, item) for item in items], limit=limit, deadline=deadline)


def _bound(function: Callable[[S], Coroutine[Any, Any, T]], item: S) -> Callable[[], Awaitable[T]]:
    return lambda: function(item)


async def race(calls: Sequence[Callable[[], Awaitable[T]]], *, deadline: Deadline | None = None) -> T:
    """The value of the first call that succeeds; the others are cancelled.

    Raises the last error when all fail, DeadlineExceededError when the deadline comes before any success.
    """
    if not calls:
        raise InvalidArgumentError("race needs at least one call")
    ended = await gather_settled(calls, deadline=deadline, stop_when=_has_success)
    failure: Settled[T] | None = None
    for entry in ended:
        if entry.is_ok:
            return entry.unwrap()
        failure = entry
    assert failure is not None
    return failure.unwrap()


def _has_success(settled: Sequence[Settled[T] | None]) -> bool:
    return any(entry is not None and entry.is_ok for entry in settled)


async def cancel_and_wait(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel `tasks` and return when all have ended, even when the caller is cancelled meanwhile."""
    pending = {task for task in tasks if not task.done()}
    for task in pending:
        task.cancel()
    interrupted: asyncio.CancelledError | None = None
    while pending:
        try:
            _, pending = await asyncio.wait(pending)
        except asyncio.CancelledError as error:
            interrupted = error
    if interrupted is not None:
        raise interrupted
