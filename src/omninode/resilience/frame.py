"""The compiled forms of a policy: the common stacks, each as one frame instead of a chain of parts.

A frame makes the first attempt of an ordinary call with every part written out in place: breaker closed and calm,
nobody above who owns the retries or is nearly out of time. Whatever is not ordinary goes the long way, through the
parts one by one: before the attempt by `slow`, after a failed one by `resume`. So a frame decides nothing that a part
does not decide; it only leaves out what would not change anything.
"""

from __future__ import annotations

import math
from asyncio import AbstractEventLoop, CancelledError, Task, current_task
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from inspect import isawaitable
from threading import get_ident
from time import monotonic
from types import CoroutineType
from typing import Any

from omninode.core.clock import Clock, SystemClock
from omninode.core.current import Scope, drop, held, hold
from omninode.core.deadline import Deadline
from omninode.resilience.breaker import CircuitBreaker
from omninode.resilience.budget import RetryBudget
from omninode.resilience.detector import Detector
from omninode.resilience.loops import settled
from omninode.resilience.retry import RetryManager
from omninode.resilience.timeout import AttemptTimeout
from omninode.resilience.wheel import Wheel

__all__ = ["Frame", "Parts", "Unfinished", "compiled"]

# Any: what a frame hands on is typed at its two ends, by `Policy.call`.
Frame = Callable[..., Awaitable[Any]]
_Call = tuple[Frame, tuple[Any, ...], dict[str, Any]]
# In place of the empty dictionary that Python makes for every call, which ten thousand waiting ones would each keep.
_NO_KEYWORDS: dict[str, Any] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """A call whose first attempt, begun at `started`, was made by a frame and failed with `error`."""

    error: BaseException
    deadline: Deadline | None
    started: float
    func: Frame
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a frame is compiled from; `deadline_s` and the timeout may be missing, the breaker too."""

    manager: RetryManager
    breaker: CircuitBreaker | None
    timeout: AttemptTimeout
    deadline_s: float | None
    clock: Clock
    slow: Frame
    resume: Callable[[Unfinished], Awaitable[Any]]
    """Goes on with an unfinished call: tries again, serves something in its place, or raises."""


def compiled(parts: Parts) -> Frame:
    """The frame for a policy that has none but these parts."""
    if parts.timeout.seconds is not None:
        return _Limited(parts).call
    is_plain = not parts.manager.config.max_retries and not parts.manager.tells_success
    return _Plain(parts).call if is_plain else _Retried(parts).call


class _Calm:
    """A detector that never counts, of a breaker that never opens: for policies without."""

    is_calm = True


class _Absent:
    """Stands for a breaker where there is none, so that a frame need not ask."""

    def __init__(self) -> None:
        self.ticket = 1
        self.passed = 0
        self.detector = _Calm()

    def settle(self, ticket: int, error: BaseException | None = None) -> None:
        """Hear nothing."""


class _Free:
    """Stands for a retry budget where there is none."""

    tokens = 0.0


class _Base:
    """What every frame needs at hand."""

    __slots__ = (
        "_breaker",
        "_budget",
        "_detector",
        "_limits",
        "_manager",
        "_monotonic",
        "_resume",
        "_slow",
        "_told_below",
    )

    def __init__(self, parts: Parts) -> None:
        manager = parts.manager
        self._breaker: CircuitBreaker | _Absent = parts.breaker or _Absent()
        self._detector: Detector | _Calm = self._breaker.detector
        self._limits = _Limits(parts)
        self._manager = manager
        self._monotonic = monotonic if type(parts.clock) is SystemClock else parts.clock.monotonic
        self._resume = parts.resume
        self._slow = parts.slow
        self._budget: RetryBudget | _Free = manager.budget if manager.budget is not None else _Free()
        # Successes are told of while the budget holds less than this: all of them to a sink, those that pay otherwise.
        size = manager.budget.config.size if manager.budget is not None else 0.0
        self._told_below = math.inf if manager.has_sink else size

    async def _go_on(self, error: BaseException, ends_at: float, started: float, call: _Call) -> Any:
        func, args, kwargs = call
        deadline = self._limits.deadline(ends_at)
        return await self._resume(
            Unfinished(error=error, deadline=deadline, started=started, func=func, args=args, kwargs=kwargs)
        )


class _Plain(_Base):
    """A breaker alone, or nothing at all."""

    __slots__ = ()

    # Any: see `Frame`.
    async def call(self, func: Frame, /, *args: Any, **kwargs: Any) -> Any:
        breaker = self._breaker
        ticket = breaker.ticket
        if not ticket:
            return await self._slow(func, *args, **kwargs)
        kwargs = kwargs or _NO_KEYWORDS
        try:
            value: Any = func(*args, **kwargs)
            if value.__class__ is CoroutineType or isawaitable(value):
                value = await value
        except BaseException as error:  # noqa: BLE001 - it goes on to `resume`, which raises it
            breaker.settle(ticket, error)
            failure = error
        else:
            if breaker.ticket == ticket and self._detector.is_calm:
                breaker.passed += 1
            else:
                breaker.settle(ticket)
            self._manager.smooth += 1
            return value
        return await self._go_on(failure, math.inf, 0.0, (func, args, kwargs))


class _Retried(_Base):
    """Retries, perhaps a breaker, no limit of time."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        # The scope of the last caller and the one made from it: most calls come from the same.
        self._outer: Scope | None = None
        self._inner: Scope

    # Any: see `Frame`.
    async def call(self, func: Frame, /, *args: Any, **kwargs: Any) -> Any:
        breaker = self._breaker
        ticket = breaker.ticket
        outer = held()
        if not ticket or outer.__class__ is not Scope or outer.deadline is not None or outer.retry_owner is not None:
            return await self._slow(func, *args, **kwargs)
        kwargs = kwargs or _NO_KEYWORDS
        started = self._monotonic() if self._told_below else 0.0
        if outer is not self._outer:
            self._outer, self._inner = outer, self._limits.narrow(outer, math.inf)
        token = hold(self._inner)
        try:
            value: Any = func(*args, **kwargs)
            if value.__class__ is CoroutineType or isawaitable(value):
                value = await value
        except BaseException as error:  # noqa: BLE001 - it goes on to `resume`, which raises it
            drop(token)
            breaker.settle(ticket, error)
            failure = error
        else:
            drop(token)
            if breaker.ticket == ticket and self._detector.is_calm:
                breaker.passed += 1
            else:
                breaker.settle(ticket)
            self._manager.smooth += 1
            if self._budget.tokens < self._told_below:
                self._manager.tell_smooth(started, func)
            return value
        return await self._go_on(failure, math.inf, started, (func, args, kwargs))


class _Limited(_Base):
    """A limit of time, perhaps a breaker and retries.

    What calls of the same moment have in common they share: the step of the wheel, and the scope with its deadline,
    which is that of the first of them.
    """

    __slots__ = (
        "_deadline_s", "_inner", "_is_same", "_loop", "_now", "_outer", "_rate", "_reach", "_thread", "_timeout", "_wheel",
    )  # fmt: skip

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        assert parts.timeout.seconds is not None
        self._timeout = parts.timeout
        self._reach: float = parts.timeout.seconds
        self._deadline_s = math.inf if parts.deadline_s is None else parts.deadline_s
        self._now: Callable[[], float] = monotonic
        # Whether the clock tells the time of the wheel, which is that of the loop, so that one look is enough.
        self._is_same = False
        self._loop: AbstractEventLoop | None = None
        self._thread = 0
        self._wheel: Wheel
        self._rate = 0.0
        self._outer: Scope | None = None
        self._inner: Scope

    # Any: see `Frame`.
    async def call(self, func: Frame, /, *args: Any, **kwargs: Any) -> Any:
        breaker = self._breaker
        ticket = breaker.ticket
        outer = held()
        if not ticket or outer.__class__ is not Scope or outer.deadline is not None or outer.retry_owner is not None:
            return await self._slow(func, *args, **kwargs)
        if get_ident() != self._thread or (task := current_task(self._loop)) is None:
            task = self._begin()
        started = self._monotonic()
        step = ((started if self._is_same else self._now()) + self._reach) * self._rate // 1.0
        if step != self._wheel.latest or task in self._wheel.latest_due:
            self._turn(step, outer, started)
        due = self._wheel.latest_due
        due[task] = task
        kwargs = kwargs or _NO_KEYWORDS
        cancels_before = task.cancelling()
        token = hold(self._inner if outer is self._outer else (outer, self._limits, started + self._deadline_s))
        try:
            value: Any = func(*args, **kwargs)
            if value.__class__ is CoroutineType or isawaitable(value):
                value = await value
        except BaseException as error:  # noqa: BLE001 - it goes on to `resume`, which raises it
            failure = self._judged(error, task, cancels_before, has_fired=due.pop(task, None) is None)
            drop(token)
            breaker.settle(ticket, failure)
        else:
            drop(token)
            try:
                del due[task]
            except KeyError:
                # The function caught our cancellation and answered all the same: its answer stands.
                task.uncancel()
            if breaker.ticket == ticket and self._detector.is_calm:
                breaker.passed += 1
            else:
                breaker.settle(ticket)
            self._manager.smooth += 1
            if self._budget.tokens < self._told_below:
                self._manager.tell_smooth(started, func)
            return value
        return await self._go_on(failure, started + self._deadline_s, started, (func, args, kwargs))

    # Any: see `Frame`.
    def _begin(self) -> Task[Any]:
        """Settle down on the loop that runs now; a policy serves one after another, one at a time."""
        loop = settled(self._manager.name, self._loop)
        self._wheel = Wheel(loop, self._reach)
        self._rate = self._wheel.rate
        self._now = self._wheel.now
        self._is_same = self._now is self._monotonic
        self._loop, self._thread = loop, get_ident()
        task = current_task(loop)
        assert task is not None
        return task

    def _turn(self, step: float, outer: Scope, started: float) -> None:
        """Begin a step, with the scope that its calls from `outer` share; anew when a task stands in it already."""
        self._wheel.turn(step)
        # On another clock than the loop's a step may be any length of time, so that there is no common deadline.
        self._outer = outer if self._is_same else None
        if self._is_same:
            self._inner = self._limits.narrow(outer, started + self._deadline_s)

    def _judged(self, error: BaseException, task: Task[Any], cancels_before: int, *, has_fired: bool) -> BaseException:
        """What the attempt ended with: `error`, or that it was late when the cancellation in `error` is ours alone."""
        # Every firing is matched by one uncancel, or the task would stay "being cancelled" for its outer limits.
        if has_fired and task.uncancel() <= cancels_before and isinstance(error, CancelledError):
            return self._timeout.too_late(
                self._reach, error, own=self._timeout.seconds, is_deadline=self._deadline_s <= self._reach
            )
        return error


class _Limits:
    """What a policy puts on the scope of its calls. See `core.current.Limits`."""

    __slots__ = ("_clock", "_owner")

    def __init__(self, parts: Parts) -> None:
        self._clock = parts.clock
        self._owner = parts.manager.name if parts.manager.config.max_retries else None

    def narrow(self, outer: Scope, at: float) -> Scope:
        """See `core.current.Limits.narrow`; only asked where `outer` has neither."""
        return outer.limited(deadline=self.deadline(at), retry_owner=self._owner)

    def deadline(self, at: float) -> Deadline | None:
        """The moment `at` as a deadline, None when it never comes."""
        return None if at == math.inf else Deadline(at, self._clock)
