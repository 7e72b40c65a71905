"""One attempt's time limit, within the deadline of the whole call.

The semantics are those of `asyncio.timeout` (a cancellation from outside stays one; `asyncio.wait_for` on 3.11 can
lose it). The price is lower: attempts that end at nearly the same moment share one timer of the loop, so a limit is
never early and at most a step of the `wheel` late.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from inspect import isawaitable
from types import CoroutineType
from typing import Any, ParamSpec, TypeVar

from omninode.core import current
from omninode.core.errors import AttemptTimeoutError, DeadlineExceededError
from omninode.resilience.ranges import require_seconds
from omninode.resilience.wheel import Wheel

__all__ = ["AttemptTimeout", "TimeoutStatistics"]

P = ParamSpec("P")
T = TypeVar("T")

# Any: what a task returns does not matter here.
_Due = dict[object, asyncio.Task[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutStatistics:
    """The limit of an attempt, and what it has cut off since it was made."""

    seconds: float | None
    timed_out: int
    """Attempts that used up all their own time."""
    cut_by_deadline: int
    """Attempts that the deadline of the whole call ended."""


class AttemptTimeout:
    """Gives each call `seconds` (None: no limit of its own), or what the scope's deadline leaves if that is less."""

    __slots__ = ("_cut_by_deadline", "_timed_out", "_wheel", "name", "seconds")

    def __init__(self, name: str, seconds: float | None = None) -> None:
        if seconds is not None:
            require_seconds(f"policy {name!r}", "attempt timeout", seconds)
        self.name = name
        self.seconds = seconds
        self._wheel: Wheel | None = None
        self._timed_out = self._cut_by_deadline = 0

    def __str__(self) -> str:
        return "none" if self.seconds is None else f"{self.seconds:g} s"

    def statistics(self) -> TimeoutStatistics:
        """What it has done so far."""
        return TimeoutStatistics(seconds=self.seconds, timed_out=self._timed_out, cut_by_deadline=self._cut_by_deadline)

    async def call(self, func: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """What `func(*args, **kwargs)` returns.

        Raises:
            AttemptTimeoutError: the attempt had all its own time. Trying again may help.
            DeadlineExceededError: the deadline came first. Its cause is an AttemptTimeoutError when the attempt had
                at least half its own time, so that a target that hangs is seen as such, and one that was given a
                moment is not blamed.
        """
        deadline = current.scope().deadline
        allowed = own = self.seconds
        remaining = math.inf
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
        task = asyncio.current_task()
        assert task is not None
        cancels_before = task.cancelling()
        entry = object()
        due, timer = self._set(entry, task, allowed)
        try:
            result = func(*args, **kwargs)
            if result.__class__ is CoroutineType or isawaitable(result):
                value = await result
            else:
                value = result
        except BaseException as error:
            # Every firing is matched by one uncancel, or the task would stay "being cancelled" for its outer limits.
            has_fired = due.pop(entry, None) is None
            if has_fired and task.uncancel() <= cancels_before and isinstance(error, asyncio.CancelledError):
                # A tie is the deadline's: nothing is left for another attempt.
                is_deadline = own is None or remaining <= own
                late = self.too_late(allowed, error, own=own, is_deadline=is_deadline)
                raise late from late.__cause__
            raise
        finally:
            if timer is not None:
                timer.cancel()
        if due.pop(entry, None) is None:
            # The function caught our cancellation and answered all the same: its answer stands.
            task.uncancel()
        return value

    def too_late(self, allowed: float, error: BaseException, *, own: float | None, is_deadline: bool) -> Exception:
        """The error for an attempt cut off by `error` after `allowed` seconds, by its `own` limit or by a deadline."""
        self._timed_out += not is_deadline
        self._cut_by_deadline += is_deadline
        timed_out = AttemptTimeoutError(f"{self.name}: no answer within {allowed:.3g} s; allow a longer attempt")
        timed_out.__cause__ = error
        if not is_deadline:
            return timed_out
        late = DeadlineExceededError(f"{self.name}: the deadline came {allowed:.3g} s into an attempt; allow more time")
        late.__cause__ = timed_out if own is not None and allowed >= own / 2 else error
        return late

    def _set(self, entry: object, task: asyncio.Task[Any], allowed: float) -> tuple[_Due, asyncio.TimerHandle | None]:
        loop = asyncio.get_running_loop()
        if self.seconds is None or allowed < self.seconds / 2:
            # Far from the usual length, where a step of the wheel would be too coarse.
            alone: _Due = {entry: task}
            return alone, loop.call_later(allowed, _fire, alone)
        wheel = self._wheel
        if wheel is None or wheel.loop is not loop:
            wheel = self._wheel = Wheel(loop, self.seconds)
        step = wheel.step(allowed)
        due = wheel.due.get(step)
        if due is None:
            due = wheel.begin(step)
        due[entry] = task
        return due, None


def _fire(due: _Due) -> None:
    _, task = due.popitem()
    task.cancel()
