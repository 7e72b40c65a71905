"""A policy: the whole protection of one target, composed once, in one fixed order.

    fallback > deadline > parking > bulkhead > retry > hedge > throttle > rate > limit > breaker
             > attempt timeout > chaos > call

Each part takes a function and its arguments and calls it, so composing is passing one part's `call` as the first
argument of the next: no closure is made for a call, and a part that is not configured costs nothing. Every retry asks
the breaker again, every attempt has its own time, and all of them share one deadline.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from threading import Lock
from typing import Any, ParamSpec, TypeVar, cast

from omninode.core import current
from omninode.core.clock import Clock, SystemClock
from omninode.core.deadline import Deadline, within
from omninode.core.errors import InvalidArgumentError
from omninode.core.events import EventSink, MetricRecorded
from omninode.resilience.blocking import Blocking
from omninode.resilience.breaker import CircuitBreaker
from omninode.resilience.bulkhead import Bulkhead, BulkheadConfig
from omninode.resilience.chaos import ChaosConfig
from omninode.resilience.circuit import CircuitBreakerConfig
from omninode.resilience.decorator import awaited, blocking, kind_of, streamed
from omninode.resilience.explain import breaker_line, bulkhead_line, explained, retry_line
from omninode.resilience.fallback import Fallback
from omninode.resilience.frame import Frame, Parts, Unfinished, compiled
from omninode.resilience.guard import permitted
from omninode.resilience.hedge import Hedge
from omninode.resilience.limiter import Adaptive
from omninode.resilience.outcome import CallOutcome, PolicyStatistics, Tally
from omninode.resilience.parking import Park
from omninode.resilience.ranges import require_seconds
from omninode.resilience.rate import Rate
from omninode.resilience.retry import RetryManager
from omninode.resilience.schedule import CallRecord, RetryConfig
from omninode.resilience.soft import SoftTimeout
from omninode.resilience.stack import Extras, Part, Stack, configured
from omninode.resilience.streaming import Streaming
from omninode.resilience.throttle import Throttle
from omninode.resilience.timeout import AttemptTimeout

__all__ = ["CallOutcome", "Policy", "PolicyStatistics"]

P = ParamSpec("P")
T = TypeVar("T")
# Any: a decorated function keeps whatever type it had.
F = TypeVar("F", bound=Callable[..., Any])


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
        self._deadline_s, self._attempt_timeout_s = deadline_s, attempt_timeout_s
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
        self._tally, self._lock = Tally(), Lock()
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
        try:
            value = await self._first(*self._outer, CallRecord(self.name), *self._inner, func, *args, **kwargs)
        except BaseException as error:
            self._tally.ended(error)
            if not isinstance(error, Exception) or self.fallback is None or not self.fallback.answers_for(error):
                raise
            value = await self._serve(self.fallback, error, args, kwargs)
        else:
            self._tally.ended(None)
        return cast("T", value)

    # Any: see `Part`.
    async def _resume(self, call: Unfinished) -> Any:
        """Go on, as `call` would, after a compiled frame made the first attempt and it failed."""
        record = CallRecord(self.name)
        record.unheard, record.started = call.error, call.started
        scope = current.scope()
        token = None
        if call.deadline is not None:
            token = current.enter(scope.limited(deadline=call.deadline, retry_owner=scope.retry_owner))
        try:
            value = await self.retry.resume(record, *self._inner, call.func, *call.args, **call.kwargs)
            self._tally.ended(None)
        except BaseException as last:
            self._tally.ended(last)
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
        try:
            value = await self._first(*self._outer, record, *self._inner, func, *args, **kwargs)
            self._tally.ended(None)
        except BaseException as error:
            self._tally.ended(error)
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

    def call_blocking(self, func: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """What the plain function `func` returns; safe from any thread, and holds that thread while it waits.

        Raises as `call` does, and InvalidArgumentError when the policy has parts that need an event loop.
        """
        return self._for_plain(func).call(func, *args, **kwargs)

    def stream(
        self, func: Callable[P, AsyncIterator[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> AsyncGenerator[T, None]:
        """The items of the async generator `func(*args, **kwargs)`, tried again only before the first of them.

        Close it (`aclose`, or `contextlib.aclosing`) when you stop half-way: the permits are held until it ends. The
        attempt timeout is the longest wait for one item. Hedge, adaptive limit, soft timeout and fallback do not
        apply: a policy with one of them raises InvalidArgumentError.
        """
        return self._for_streams(func).items(func, *args, **kwargs)

    @asynccontextmanager
    async def guard(self) -> AsyncIterator[None]:
        """Run the body within the bulkhead, the breaker and the deadline; it cannot be repeated, so nothing retries."""
        async with within(self._deadline(), doing=self.name):
            if self.bulkhead is not None:
                await self.bulkhead.acquire()
            try:
                async with permitted(self.breaker):
                    yield
            finally:
                if self.bulkhead is not None:
                    self.bulkhead.release()

    def __call__(self, func: F) -> F:
        """Decorate a function: every call of it goes through this policy.

        An async function goes through `call`, an async generator function through `stream`, a plain one through
        `call_blocking`; name and signature stay.
        """
        kind = kind_of(func)
        if kind == "async":
            return cast("F", awaited(self.call, func))
        if kind == "stream":
            self._for_streams(func)
            return cast("F", streamed(self.stream, func))
        self._for_plain(func)
        return cast("F", blocking(self.call_blocking, func))

    # Any: named in the message, nothing else.
    def _for_plain(self, func: Any) -> Blocking:
        if self.bulkhead is not None or self._attempt_timeout_s is not None or not self._stack.extras.is_empty:
            raise InvalidArgumentError(
                f"policy {self.name!r} has parts that need an event loop, and {func!r} is a plain function; "
                "write `async def`, or use a policy of fallback, deadline, retry and breaker alone"
            )
        return Blocking(
            name=self.name,
            manager=self.retry,
            breaker=self.breaker,
            deadline_s=self._deadline_s,
            fallback=self.fallback,
            clock=self._clock,
            tally=self._tally,
            lock=self._lock,
        )

    # Any: see `_for_plain`.
    def _for_streams(self, func: Any) -> Streaming:
        extras = self._stack.extras
        if self.fallback or extras.hedge or extras.limit or extras.soft_timeout:
            raise InvalidArgumentError(
                f"policy {self.name!r} has a hedge, a limit, a soft timeout or a fallback, which a stream such as "
                f"{func!r} cannot have; use a policy without"
            )
        return Streaming(
            name=self.name,
            manager=self.retry,
            breaker=self.breaker,
            bulkhead=self.bulkhead,
            stack=self._stack,
            timeout=AttemptTimeout(self.name, self._attempt_timeout_s),
            deadline_s=self._deadline_s,
            clock=self._clock,
            tally=self._tally,
        )

    def statistics(self) -> PolicyStatistics:
        """What went through so far."""
        return PolicyStatistics(
            name=self.name,
            calls=self._tally.calls + self.retry.smooth,
            succeeded=self._tally.succeeded + self.retry.smooth,
            failed=self._tally.failed - self._tally.degraded,
            degraded=self._tally.degraded,
            cancelled=self._tally.cancelled,
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
        scope = current.scope()
        token = current.enter(scope.limited(deadline=self._deadline(), retry_owner=scope.retry_owner))
        try:
            return await func(*args, **kwargs)
        finally:
            current.leave(token)

    def _deadline(self) -> Deadline | None:
        outer = current.scope().deadline
        if self._deadline_s is None:
            return outer
        return Deadline.after(self._deadline_s, clock=self._clock).narrowed(outer)

    # Any: see `Part`.
    async def _serve(self, fallback: Fallback, error: Exception, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        value = await fallback.serve(error, args, kwargs)
        self._tally.degraded += 1
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
