"""One attempt's time limit, within the deadline of the whole call.

The semantics are those of `asyncio.timeout` (a cancellation from outside stays one; `asyncio.wait_for` on 3.11 can
lose it) at a third of its price, since nothing here is ever rescheduled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from types import CoroutineType
from typing import ParamSpec, TypeVar

from omninode.core import current
from omninode.core.deadline import Deadline
from omninode.core.errors import AttemptTimeoutError, DeadlineExceededError
from omninode.resilience.ranges import require_seconds

__all__ = ["AttemptTimeout"]

P = ParamSpec("P")
T = TypeVar("T")


class _Alarm:
    """Cancels a task once, and knows that it did."""

    __slots__ = ("_task", "has_fired")

    def __init__(self, task: asyncio.Task[object]) -> None:
        self._task = task
        self.has_fired = False

    def fire(self) -> None:
        self.has_fired = True
        self._task.cancel()


class AttemptTimeout:
    """Gives each call `seconds` (None: no limit of its own), or what the scope's deadline leaves if that is less."""

    __slots__ = ("name", "seconds")

    def __init__(self, name: str, seconds: float | None = None) -> None:
        if seconds is not None:
            require_seconds(f"policy {name!r}", "attempt timeout", seconds)
        self.name = name
        self.seconds = seconds

    async def call(self, func: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """What `func(*args, **kwargs)` returns.

        Raises:
            AttemptTimeoutError: the attempt had all its own time. Trying again may help.
            DeadlineExceededError: the deadline came first. Its cause is an AttemptTimeoutError when the attempt had
                at least half its own time, so that a target that hangs is seen as such, and one that was given a
                moment is not blamed.
        """
        deadline = current.scope().deadline
        allowed = self.seconds
        if deadline is not None:
            remaining = deadline.remaining()
            if remaining <= 0:
                raise DeadlineExceededError(f"{self.name}: no time was left to begin; allow a longer deadline")
            allowed = remaining if allowed is None else min(allowed, remaining)
        if allowed is None:
            result = func(*args, **kwargs)
            if result.__class__ is CoroutineType or isawaitable(result):
                return await result
            return result
        return await self._limited(allowed, deadline, func, *args, **kwargs)

    async def _limited(
        self,
        allowed: float,
        deadline: Deadline | None,
        func: Callable[P, Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        task = asyncio.current_task()
        assert task is not None
        cancels_before = task.cancelling()
        alarm = _Alarm(task)
        timer = asyncio.get_running_loop().call_later(allowed, alarm.fire)
        try:
            result = func(*args, **kwargs)
            if result.__class__ is CoroutineType or isawaitable(result):
                value = await result
            else:
                value = result
        except asyncio.CancelledError as cancelled:
            if alarm.has_fired and task.uncancel() <= cancels_before:
                raise self._too_late(allowed, deadline) from cancelled
            raise
        except BaseException:
            if alarm.has_fired:
                task.uncancel()
            raise
        finally:
            timer.cancel()
        if alarm.has_fired:
            # The function caught our cancellation and answered all the same: its answer stands.
            task.uncancel()
        return value

    def _too_late(self, allowed: float, deadline: Deadline | None) -> Exception:
        own = self.seconds
        timed_out = AttemptTimeoutError(f"{self.name}: no answer within {allowed:.1f} s; allow a longer attempt")
        if deadline is None or (own is not None and allowed >= own):
            return timed_out
        passed = DeadlineExceededError(
            f"{self.name}: the deadline came {allowed:.1f} s into an attempt; allow more time"
        )
        if own is not None and allowed >= own / 2:
            passed.__cause__ = timed_out
        return passed
