"""A policy: the whole protection of one target, composed once, in one fixed order.

    fallback > deadline > parking > bulkhead > retry > hedge > throttle > rate > limit > breaker
             > attempt timeout > chaos > call

Each part takes a function and its arguments and calls it, so composing is passing one part's `call` as the first
argument of the next: no closure is made for a call, and a part that is not configured costs nothing. Every retry asks
the breaker again, every attempt has its own time, and all of them share one deadline.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, ParamSpec, TypeVar, cast

from omninode.core import current
from omninode.core.clock import Clock, SystemClock
from omninode.core.deadline import Deadline
from omninode.core.errors import InvalidArgumentError
from omninode.core.events import EventSink, MetricRecorded
from omninode.resilience.breaker import CircuitBreaker
from omninode.resilience.bulkhead import Bulkhead, BulkheadConfig
from omninode.resilience.chaos import ChaosConfig
from omninode.resilience.circuit import CircuitBreakerConfig
from omninode.resilience.explain import breaker_line, bulkhead_line, explained, retry_line
from omninode.resilience.fallback import Fallback
from omninode.resilience.frame import Frame, Parts, Unfinished, compiled
from omninode.resilience.hedge import Hedge
from omninode.resilience.limiter import Adaptive
from omninode.resilience.outcome import CallOutcome, PolicyStatistics
from omninode.resilience.parking import Park
from omninode.resilience.ranges import require_seconds
from omninode.resilience.rate import Rate
from omninode.resilience.retry import RetryManager
from omninode.resilience.schedule import CallRecord, RetryConfig
from omninode.resilience.soft import SoftTimeout
from omninode.resilience.stack import Extras, Part, Stack, configured
from omninode.resilience.throttle import Throttle
from omninode.resilience.timeout import AttemptTimeout

__all__ = ["CallOutcome", "Policy", "PolicyStatistics"]

P = ParamSpec("P")
T = TypeVar("T")


class Policy:
    """Protects calls to the target called `name`; safe for any number of concurrent calls on one event loop.

    Args:
        name: of the target; what its calls, its breaker and its errors are called in events and messages.
        deadline_s: the time for everything, fallback excepted; the deadline of the scope holds as well.
        attempt_timeout_s: the time of one attempt; None for that of the deadline.
        retry: None for one attempt.
        breaker: its configuration, or a breaker to share.
        bulkhead: its configuration, or a bulkhead to share.
        fallback: `func(error, *args, **kwargs)`, sync or async, or a `Fallback`.
        park: wait for an open breaker to reopen, where the deadline leaves the time.
        hedge: a second attempt beside a slow one; for calls that may be made twice.
        throttle, rate, limit: send less to what accepts little, at most so much per second, as many at once as go well.
        soft_timeout: tell the breaker early of attempts that run unusually long.
        chaos: injected trouble, for tests and drills.
        clock, sink: time, and where events go.
    """

    def __init__(  # noqa: PLR0913 - one argument per part; they do not travel together
        self,
        name: str,
        *,
        deadline_s: float | None = None,
        attempt_timeout_s: float | None = None,
        retry: RetryConfig | None = None,
        breaker: CircuitBreakerConfig | CircuitBreaker | None = None,
        bulkhead: BulkheadConfig | Bulkhead | None = None,
        # Any: see `Fallback`.
        fallback: Fallback | Callable[..., Any] | None = None,
        park: Park | None = None,
        hedge: Hedge | None = None,
        throttle: Throttle | None = None,
        rate: Rate | None = None,
        limit: Adaptive | None = None,
        soft_timeout: SoftTimeout | None = None,
        chaos: ChaosConfig | None = None,
        clock: Clock | None = None,
        sink: EventSink | None = None,
    ) -> None:
        if deadline_s is not None:
            require_seconds(f"policy {name!r}", "deadline_s", deadline_s)
        self.name = name
        self._clock = clock or SystemClock()
        self._sink = sink
        self._deadline_s = deadline_s
        self._timeout = AttemptTimeout(name, _shorter(attempt_timeout_s, deadline_s))
        if isinstance(breaker, CircuitBreakerConfig):
            breaker = CircuitBreaker(name, breaker, clock=clock, sink=sink)
        if isinstance(bulkhead, BulkheadConfig):
            bulkhead = Bulkhead(name, bulkhead)
        if fallback is not None and not isinstance(fallback, Fallback):
            fallback = Fallback(fallback)
        self.breaker, self.bulkhead, self.fallback = breaker, bulkhead, fallback
        retry = retry or RetryConfig(max_retries=0)
        is_timed = self._timeout.seconds is not None
        self.retry = RetryManager(retry, clock=clock, sink=sink, name=name, bounds_attempts=not is_timed)
        self._calls = self._succeeded = self._failed = self._degraded = self._cancelled = 0
        self._compose(
            Extras(
                park=park,
                hedge=hedge,
                throttle=throttle,
                rate=rate,
                limit=limit,
                soft_timeout=soft_timeout,
                chaos=chaos,
            )
        )

    def _compose(self, extras: Extras) -> None:
        self._stack = Stack(
            self.name,
            extras,
            breaker=self.breaker,
            timeout=self._timeout,
            clock=self._clock,
            sink=self._sink,
            classify=self.retry.config.classify if self.breaker is None else self.breaker.config.classify,
        )
        parking = self._stack.parking
        outer = configured(
            self._within_deadline if self._deadline_s is not None else None,
            None if parking is None else parking.call,
            None if self.bulkhead is None else self.bulkhead.call,
            self.retry.record,
        )
        self._first, self._outer = outer[0], outer[1:]
        self._inner = self._stack.around_attempts()
        if self.bulkhead is None and self._stack.extras.is_empty:
            # The method below is what a call means; a compiled frame does the same for the common stacks in less time.
            self.call = self._compiled()  # type: ignore[method-assign,assignment]

    def _compiled(self) -> Frame:
        return compiled(
            Parts(
                manager=self.retry,
                breaker=self.breaker,
                timeout=self._timeout,
                deadline_s=self._deadline_s,
                clock=self._clock,
                slow=self.call,
                resume=self._resume,
            )
        )

    async def call(self, func: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """What `func(*args, **kwargs)` returns, or what the fallback serves in its place.

        Use `outcome` where a degraded value must be told from a real one. Raises the error of the last attempt,
        BreakerOpenError, BulkheadFullError or DeadlineExceededError.
        """
        self._calls += 1
        try:
            value = await self._first(*self._outer, CallRecord(self.name), *self._inner, func, *args, **kwargs)
        except BaseException as error:
            self._count_end(error)
            if not isinstance(error, Exception) or self.fallback is None or not self.fallback.answers_for(error):
                raise
            value = await self._serve(self.fallback, error, args, kwargs)
        else:
            self._succeeded += 1
        return cast("T", value)

    # Any: see `Part`.
    async def _resume(self, call: Unfinished) -> Any:
        """Go on, as `call` would, after a compiled frame made the first attempt and it failed."""
        record = CallRecord()
        record.unheard, record.started = call.error, call.started
        self._calls += 1
        scope = current.scope()
        token = None
        if call.deadline is not None:
            token = current.enter(scope.limited(deadline=call.deadline, retry_owner=scope.retry_owner))
        try:
            value = await self.retry.resume(record, *self._inner, call.func, *call.args, **call.kwargs)
            self._succeeded += 1
        except BaseException as last:
            self._count_end(last)
            if not isinstance(last, Exception) or self.fallback is None or not self.fallback.answers_for(last):
                raise
            failure = last
        else:
            return value
        finally:
            if token is not None:
                current.leave(token)
        return await self._serve(self.fallback, failure, call.args, call.kwargs)

    async def outcome(self, func: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> CallOutcome[T]:
        """How the call ended; raises only what cancels the caller."""
        return await self._outcome(CallRecord(self.name), func, *args, **kwargs)

    async def outcome_as(
        self, retry: RetryConfig, func: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> CallOutcome[T]:
        """The same as `outcome`, trying again by `retry`; counts and events are those of this policy."""
        record = CallRecord(self.name)
        record.config = retry
        return await self._outcome(record, func, *args, **kwargs)

    async def _outcome(
        self, record: CallRecord, func: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> CallOutcome[T]:
        value: T | None = None
        failure: Exception | None = None
        degraded: str | None = None
        self._calls += 1
        try:
            value = await self._first(*self._outer, record, *self._inner, func, *args, **kwargs)
            self._succeeded += 1
        except BaseException as error:
            self._count_end(error)
            if not isinstance(error, Exception):
                raise
            failure = error
        if failure is not None and self.fallback is not None and self.fallback.answers_for(failure):
            try:
                value = await self._serve(self.fallback, failure, args, kwargs)
                degraded = self.fallback.label
            except Exception as error:  # noqa: BLE001 - `serve` raises the first error again
                failure = error
        return CallOutcome(
            value=value,
            error=failure,
            attempts=record.attempts,
            waits_s=record.waits_s,
            degraded=degraded,
            gave_up=record.gave_up,
        )

    def __call__(self, func: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        """Decorate an async function: every call of it goes through this policy."""
        if not iscoroutinefunction(func):
            raise InvalidArgumentError(
                f"policy {self.name!r} decorates async functions, and {func!r} is none; write `async def`"
            )

        @wraps(func)
        async def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
            return await self.call(func, *args, **kwargs)

        return guarded

    def statistics(self) -> PolicyStatistics:
        """What went through so far."""
        return PolicyStatistics(
            name=self.name,
            calls=self._calls + self.retry.smooth,
            succeeded=self._succeeded + self.retry.smooth,
            failed=self._failed - self._degraded,
            degraded=self._degraded,
            cancelled=self._cancelled,
            retry=self.retry.statistics(),
            breaker=self.breaker.statistics() if self.breaker else None,
            bulkhead=self.bulkhead.statistics() if self.bulkhead else None,
            extras=self._stack.statistics(),
        )

    def explain(self) -> str:
        """The parts in the order in which a call passes them, one line each, with their settings."""
        own = {
            "fallback": f"fallback: {self.fallback.label!r} answers for faults, refusals and passed deadlines"
            if self.fallback is not None
            else "",
            "deadline": f"deadline: {self._deadline_s:g} s for all attempts and waits" if self._deadline_s else "",
            "bulkhead": bulkhead_line(self.bulkhead),
            "retry": retry_line(self.retry.config),
            "breaker": breaker_line(self.breaker),
            "attempt timeout": f"attempt timeout: {self._timeout.seconds:g} s" if self._timeout.seconds else "",
            "call": f"call: {self.name}",
        }
        return explained(own, self._stack)

    # Any: see `Part`.
    async def _within_deadline(self, func: Part, *args: Any, **kwargs: Any) -> Any:
        # No timer here: the line of the bulkhead, the waits and the attempts each keep the deadline of the scope.
        assert self._deadline_s is not None
        scope = current.scope()
        deadline = Deadline.after(self._deadline_s, clock=self._clock).narrowed(scope.deadline)
        token = current.enter(scope.limited(deadline=deadline, retry_owner=scope.retry_owner))
        try:
            return await func(*args, **kwargs)
        finally:
            current.leave(token)

    def _count_end(self, error: BaseException) -> None:
        if isinstance(error, Exception):
            self._failed += 1
        else:
            self._cancelled += 1

    # Any: see `Part`.
    async def _serve(self, fallback: Fallback, error: Exception, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        value = await fallback.serve(error, args, kwargs)
        self._degraded += 1
        if self._sink is not None:
            scope = current.scope()
            self._sink.emit(
                MetricRecorded(
                    run_id=scope.run_id,
                    phase=scope.phase,
                    metric="degraded_count",
                    value=1.0,
                    ok=False,
                    labels={"policy": self.name, "degraded": fallback.label, "error_class": type(error).__name__},
                )
            )
        return value


def _shorter(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)
