"""One attempt's time limit, within the deadline of the whole call.

The semantics are those of `asyncio.timeout` (a cancellation from outside stays one; `asyncio.wait_for` on 3.11 can
lose it). The price is lower: attempts that end at nearly the same moment share one timer of the loop, so a limit is
never early and up to 1 % late.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from types import CoroutineType
from typing import NoReturn, ParamSpec, TypeVar

from omninode.core import current
from omninode.core.deadline import Deadline
from omninode.core.errors import AttemptTimeoutError, DeadlineExceededError
from omninode.resilience.ranges import require_seconds

__all__ = ["AttemptTimeout"]

P = ParamSpec("P")
T = TypeVar("T")

# Moments are rounded up to this share of the limit, so one limit has about so many timers pending at any load.
_STEPS = 100
_FINEST_STEP_S = 0.001


class _Alarm:
    """Cancels a task once, and knows that it did. One per attempt: a task may stand under several at one moment."""

    __slots__ = ("_task", "has_fired", "timer")

    def __init__(self, task: asyncio.Task[object]) -> None:
        self._task = task
        self.has_fired = False
        self.timer: asyncio.TimerHandle | set[_Alarm] | None = None

    def fire(self) -> None:
        self.has_fired = True
        self._task.cancel()

    def stop(self) -> None:
        if isinstance(self.timer, set):
            self.timer.discard(self)
        elif self.timer is not None:
            self.timer.cancel()


class _Wheel:
    """Alarms by the step of time at which they are due, with one timer of the loop per step."""

    __slots__ = ("_due", "_step_s", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, step_s: float) -> None:
        self.loop = loop
        self._step_s = step_s
        self._due: dict[int, set[_Alarm]] = {}

    def add(self, alarm: _Alarm, seconds: float) -> None:
        step = int((self.loop.time() + seconds) / self._step_s) + 1
        alarms = self._due.get(step)
        if alarms is None:
            alarms = self._due[step] = set()
            self.loop.call_at(step * self._step_s, self._fire, step)
        alarms.add(alarm)
        alarm.timer = alarms

    def _fire(self, step: int) -> None:
        for alarm in self._due.pop(step):
            alarm.fire()


class AttemptTimeout:
    """Gives each call `seconds` (None: no limit of its own), or what the scope's deadline leaves if that is less."""

    __slots__ = ("_wheel", "name", "seconds")

    def __init__(self, name: str, seconds: float | None = None) -> None:
        if seconds is not None:
            require_seconds(f"policy {name!r}", "attempt timeout", seconds)
        self.name = name
        self.seconds = seconds
        self._wheel: _Wheel | None = None

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
        task = asyncio.current_task()
        assert task is not None
        cancels_before = task.cancelling()
        alarm = _Alarm(task)
        self._set(alarm, allowed)
        try:
            result = func(*args, **kwargs)
            if result.__class__ is CoroutineType or isawaitable(result):
                value = await result
            else:
                value = result
        except BaseException as error:
            # Every firing is matched by one uncancel, or the task would stay "being cancelled" for its outer limits.
            if alarm.has_fired and task.uncancel() <= cancels_before and isinstance(error, asyncio.CancelledError):
                self._raise_too_late(allowed, deadline, error)
            raise
        finally:
            alarm.stop()
        if alarm.has_fired:
            # The function caught our cancellation and answered all the same: its answer stands.
            task.uncancel()
        return value

    def _set(self, alarm: _Alarm, allowed: float) -> None:
        loop = asyncio.get_running_loop()
        if self.seconds is None or allowed < self.seconds / 2:
            # Far from the usual length, where a step of the wheel would be too coarse.
            alarm.timer = loop.call_later(allowed, alarm.fire)
            return
        wheel = self._wheel
        if wheel is None or wheel.loop is not loop:
            wheel = self._wheel = _Wheel(loop, max(_FINEST_STEP_S, self.seconds / _STEPS))
        wheel.add(alarm, allowed)

    def _raise_too_late(self, allowed: float, deadline: Deadline | None, error: BaseException) -> NoReturn:
        own = self.seconds
        timed_out = AttemptTimeoutError(f"{self.name}: no answer within {allowed:.3g} s; allow a longer attempt")
        timed_out.__cause__ = error
        if deadline is None or (own is not None and allowed >= own):
            raise timed_out
        had_its_time = own is not None and allowed >= own / 2
        raise DeadlineExceededError(
            f"{self.name}: the deadline came {allowed:.3g} s into an attempt; allow more time"
        ) from (timed_out if had_its_time else error)
