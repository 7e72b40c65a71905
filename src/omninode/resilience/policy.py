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
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from omninode.core import current
from omninode.core.clock import Clock, SystemClock
from omninode.core.deadline import Deadline, within
from omninode.core.events import EventSink, MetricRecorded
from omninode.resilience.adaptive import AdaptiveTimeout
from omninode.resilience.breaker import CircuitBreaker
from omninode.resilience.bulkhead import Bulkhead, BulkheadConfig
from omninode.resilience.chain import Chain
from omninode.resilience.circuit import CircuitBreakerConfig
from omninode.resilience.composition import Settings, composed
from omninode.resilience.decorator import awaited, blocking, kind_of, streamed
from omninode.resilience.fallback import Fallback
from omninode.resilience.frame import Frame, Parts, Unfinished, compiled
from omninode.resilience.guard import permitted
from omninode.resilience.outcome import CallOutcome, PolicyStatistics
from omninode.resilience.schedule import CallRecord, RetryConfig
from omninode.resilience.stack import Extras, Part, configured

if TYPE_CHECKING:
    from omninode.resilience.chaos import ChaosConfig
    from omninode.resilience.hedge import Hedge
    from omninode.resilience.limiter import Adaptive
    from omninode.resilience.pace import Pace
    from omninode.resilience.parking import Park
    from omninode.resilience.rate import Rate
    from omninode.resilience.soft import SoftTimeout
    from omninode.resilience.throttle import Throttle

__all__ = ["CallOutcome", "Policy", "PolicyStatistics"]

P = ParamSpec("P")
T = TypeVar("T")
# Any: a decorated function keeps whatever type it had.
F = TypeVar("F", bound=Callable[..., Any])


class Policy:
    """Protects calls to the target called `name`; safe for any number of concurrent calls on one event loop.

    Args:
        name: of the target; what its calls, its breaker and its errors are called in events and messages.
        deadline_s: seconds for everything, fallback excepted; the deadline of the scope holds as well. None for that
            alone.
        attempt_timeout_s: seconds for one attempt, or an `AdaptiveTimeout` to have them learned; None for what the
            deadline leaves.
        retry: when to try again; None for one attempt.
        breaker: its configuration, or a breaker to share.
        bulkhead: its configuration, or a bulkhead to share.
        fallback: `func(error, *args, **kwargs)`, sync or async, or a `Fallback`.
        park: wait for an open breaker to reopen, where the deadline leaves the time.
        hedge: a second attempt beside a slow one; for calls that may be made twice.
        throttle, rate, limit: send less to what accepts little, at most so much per second, as many at once as go well.
        soft_timeout: tell the breaker early of attempts that run unusually long.
        pace: taught by the attempts, for a parking place outside this policy.
        chaos: injected trouble, for tests and drills.
        clock, sink: time, and where events go; the clock and the sink of parts that are shared stay theirs.
        seed: makes what its parts draw at random repeatable; a breaker that is shared keeps its own luck.

    Raises InvalidArgumentError for settings out of range and for parts that need one that is missing (`park` and
    `soft_timeout` need a breaker). The order of the parts is in the module; `then` makes another.
    """

    def __init__(  # noqa: PLR0913 - one argument per part; they do not travel together
        self,
        name: str,
        *,
        deadline_s: float | None = None,
        attempt_timeout_s: float | AdaptiveTimeout | None = None,
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
        pace: Pace | None = None,
        clock: Clock | None = None,
        sink: EventSink | None = None,
        seed: int | None = None,
    ) -> None:
        extras = Extras(
            park=park,
            hedge=hedge,
            throttle=throttle,
            rate=rate,
            limit=limit,
            soft_timeout=soft_timeout,
            chaos=chaos,
            pace=pace,
        )
        settings = Settings(
            name=name,
            deadline_s=deadline_s,
            attempt_timeout_s=attempt_timeout_s,
            retry=RetryConfig(max_retries=0) if retry is None else retry,
            breaker=breaker,
            bulkhead=bulkhead,
            fallback=fallback,
            extras=extras,
            clock=clock or SystemClock(),
            sink=sink,
            seed=seed,
        )
        parts = self._parts = composed(settings)
        self.name, self.retry, self._tally = name, parts.retry, parts.tally
        self.breaker, self.bulkhead, self.fallback = parts.breaker, parts.bulkhead, parts.fallback
        self._compose()

    def _compose(self) -> None:
        parts = self._parts
        parking = parts.stack.parking
        outer = configured(
            self._within_deadline if parts.deadline_s is not None else None,
            None if parking is None else parking.call,
            None if self.bulkhead is None else self.bulkhead.call,
            self.retry.record,
        )
        self._first, self._outer = outer[0], outer[1:]
        self._inner = parts.stack.around_attempts()
        if parts.is_common:
            # The method below is what a call means; a compiled frame does the same for the common stacks in less time.
            self.call = self._compiled()  # type: ignore[method-assign,assignment]

    def _compiled(self) -> Frame:
        return compiled(
            Parts(
                manager=self.retry,
                breaker=self.breaker,
                timeout=self._parts.timeout,
                deadline_s=self._parts.deadline_s,
                clock=self._parts.clock,
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
        return self._parts.blocking(func).call(func, *args, **kwargs)

    def stream(
        self, func: Callable[P, AsyncIterator[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> AsyncGenerator[T, None]:
        """The items of the async generator `func(*args, **kwargs)`, tried again only before the first of them.

        Close it (`aclose`, or `contextlib.aclosing`) when you stop half-way: the permits are held until it ends. The
        attempt timeout is the longest wait for one item. Hedge, adaptive limit, soft or adaptive timeout and fallback do not
        apply: a policy with one of them raises InvalidArgumentError.
        """
        return self._parts.streaming(func).items(func, *args, **kwargs)

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
            self._parts.streaming(func)
            return cast("F", streamed(self.stream, func))
        self._parts.blocking(func)
        return cast("F", blocking(self.call_blocking, func))

    def then(self, other: Policy | Chain) -> Chain:
        """This policy with `other` inside each of its attempts; see `Chain`."""
        return Chain(self).then(other)

    def statistics(self) -> PolicyStatistics:
        """What went through so far: the calls, and what each part did, in one frozen value."""
        return self._parts.statistics()

    def explain(self) -> str:
        """The parts in the order in which a call passes them, one line each, with their settings."""
        return self._parts.explain()

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
        if self._parts.deadline_s is None:
            return outer
        return Deadline.after(self._parts.deadline_s, clock=self._parts.clock).narrowed(outer)

    # Any: see `Part`.
    async def _serve(self, fallback: Fallback, error: Exception, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        value = await fallback.serve(error, args, kwargs)
        self._tally.degraded += 1
        if self._parts.sink is not None:
            scope = current.scope()
            self._parts.sink.emit(
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
