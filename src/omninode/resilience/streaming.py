"""A policy for async generators: everything until the first item may be tried again, nothing after it.

What was yielded cannot be taken back, so a stream that breaks off later is not repeated; its breaker hears of it. The
permits are held until the stream ends, and given back when it is closed half-way. The attempt timeout is the longest
wait for one item; the deadline holds for the whole stream.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, ParamSpec, TypeVar, cast

from omninode.core import current
from omninode.core.clock import Clock
from omninode.core.current import Scope
from omninode.core.deadline import Deadline
from omninode.resilience.breaker import CircuitBreaker, Permit
from omninode.resilience.bulkhead import Bulkhead
from omninode.resilience.classify import Outcome, outcome_of
from omninode.resilience.outcome import Tally
from omninode.resilience.retry import RetryManager
from omninode.resilience.schedule import CallRecord
from omninode.resilience.stack import Part, Stack
from omninode.resilience.timeout import AttemptTimeout

__all__ = ["Streaming"]

P = ParamSpec("P")
T = TypeVar("T")

_END = object()


class _Lease(Generic[T]):
    """What an open stream holds."""

    def __init__(self) -> None:
        self.items: AsyncIterator[T] | None = None
        self.permit: Permit | None = None

    def release(self, outcome: Outcome, cause: str = "") -> None:
        if self.permit is not None:
            self.permit.release(outcome, cause=cause)

    async def close(self) -> None:
        items, self.items = self.items, None
        close = getattr(items, "aclose", None)
        if close is not None:
            await close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Streaming:
    """Opens streams with the parts of a policy."""

    name: str
    manager: RetryManager
    breaker: CircuitBreaker | None
    bulkhead: Bulkhead | None
    stack: Stack
    timeout: AttemptTimeout
    deadline_s: float | None
    clock: Clock
    tally: Tally

    async def items(
        self, func: Callable[P, AsyncIterator[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> AsyncGenerator[T, None]:
        """The items of `func(*args, **kwargs)`. Raises as `Policy.call` does; close it when you stop half-way."""
        outer = current.scope()
        deadline = outer.deadline
        if self.deadline_s is not None:
            deadline = Deadline.after(self.deadline_s, clock=self.clock).narrowed(deadline)
        scope = outer.limited(deadline=deadline, retry_owner=outer.retry_owner)
        lease: _Lease[T] = _Lease()
        has_place = False
        try:
            if self.bulkhead is not None:
                await _inside(scope, self.bulkhead.acquire)
                has_place = True
            item = await self._opened(scope, lease, partial(func, *args, **kwargs))
            while item is not _END:
                yield cast("T", item)
                item = await _inside(scope, self.timeout.call, self._next, lease)
        except BaseException as error:
            lease.release(self._judged(error), type(error).__name__)
            self.tally.ended(error)
            raise
        else:
            lease.release(Outcome.SUCCESS)
            self.tally.ended(None)
        finally:
            if has_place and self.bulkhead is not None:
                self.bulkhead.release()
            await lease.close()

    # Any: the first item, or the mark of the end; see `items` for its type.
    async def _opened(self, scope: Scope, lease: _Lease[T], make: Callable[[], AsyncIterator[T]]) -> Any:
        """The first item, after as many attempts as it takes."""
        parts: tuple[Any, ...] = (self.manager.record, CallRecord(self.name), *self.stack.around_openings())
        if self.stack.parking is not None:
            parts = (self.stack.parking.call, *parts)
        return await _inside(scope, parts[0], *parts[1:], self._attempt, lease, make)

    # Any: see `_opened`.
    async def _attempt(self, lease: _Lease[T], make: Callable[[], AsyncIterator[T]]) -> Any:
        lease.permit = None if self.breaker is None else self.breaker.admit()
        try:
            lease.items = make()
            return await self.timeout.call(self._next, lease)
        except BaseException as error:
            lease.release(self._judged(error), type(error).__name__)
            await lease.close()
            raise

    # Any: see `_opened`.
    async def _next(self, lease: _Lease[T]) -> Any:
        assert lease.items is not None
        try:
            return await lease.items.__anext__()
        except StopAsyncIteration:
            return _END

    def _judged(self, error: BaseException) -> Outcome:
        config = self.manager.config if self.breaker is None else self.breaker.config
        return outcome_of(config.classify, error)


# Any: what `func` takes and gives; only around one step, because a scope entered over a `yield` would leak out of it.
async def _inside(scope: Scope, func: Part, *args: Any, **kwargs: Any) -> Any:
    token = current.enter(scope)
    try:
        return await func(*args, **kwargs)
    finally:
        current.leave(token)
