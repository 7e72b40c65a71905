"""A policy for plain functions: the same breaker, retries and budget, in whatever thread the function runs.

Nothing can interrupt a plain function, so there is no timeout for one: the deadline bounds the waits and decides
whether there is another attempt. A wait holds its thread; from an event loop call such a function by
`asyncio.to_thread`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import iscoroutine
from threading import Event, Lock
from typing import Any, ParamSpec, TypeVar

from omninode.core import current
from omninode.core.clock import Clock
from omninode.core.deadline import Deadline
from omninode.core.errors import DeadlineExceededError, InvalidArgumentError
from omninode.resilience.breaker import CircuitBreaker
from omninode.resilience.classify import Outcome, outcome_of
from omninode.resilience.fallback import Fallback
from omninode.resilience.outcome import Tally
from omninode.resilience.retry import RetryManager
from omninode.resilience.schedule import CallRecord

__all__ = ["Blocking"]

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(slots=True, kw_only=True)
class Blocking:
    """Runs plain functions with the parts of a policy that need no event loop; safe to call from many threads."""

    name: str
    manager: RetryManager
    breaker: CircuitBreaker | None
    deadline_s: float | None
    fallback: Fallback | None
    clock: Clock
    tally: Tally
    lock: Lock

    def call(self, func: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """What `func(*args, **kwargs)` returns. Raises as `Policy.call` does."""
        outer = current.scope()
        deadline = outer.deadline
        if self.deadline_s is not None:
            deadline = Deadline.after(self.deadline_s, clock=self.clock).narrowed(deadline)
        record = CallRecord(self.name)
        token = current.enter(
            self.manager.begin(record, outer.limited(deadline=deadline, retry_owner=outer.retry_owner))
        )
        try:
            value = self._attempts(record, func, args, kwargs)
        except BaseException as error:
            with self.lock:
                self.tally.ended(error)
            if not isinstance(error, Exception) or self.fallback is None or not self.fallback.answers_for(error):
                raise
            served: T = self.fallback.serve_blocking(error, args, kwargs)
            with self.lock:
                self.tally.degraded += 1
            return served
        finally:
            current.leave(token)
        with self.lock:
            self.tally.ended(None)
        return value

    # Any: the arguments of `func`, whose types the public method checks.
    def _attempts(self, record: CallRecord, func: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        while True:
            record.attempts += 1
            record.started = self.clock.monotonic()
            try:
                value = self._attempt(record, func, args, kwargs)
            except BaseException as error:
                with self.lock:
                    wait_s = self.manager.failed(error, record, func)
                if wait_s is None:
                    raise
            else:
                with self.lock:
                    self.manager.succeeded(record, func)
                return value
            # Not `time.sleep`: an event may be waited for from any thread, and says why it waits.
            Event().wait(wait_s)

    # Any: see `_attempts`.
    def _attempt(self, record: CallRecord, func: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        if record.deadline is not None and record.deadline.has_passed:
            raise DeadlineExceededError(f"{self.name}: no time was left to begin; allow a longer deadline")
        if self.breaker is None:
            return _plain(self.name, func(*args, **kwargs))
        with self.breaker.lock:
            permit = self.breaker.admit()
        try:
            value = _plain(self.name, func(*args, **kwargs))
        except BaseException as error:
            with self.breaker.lock:
                permit.release(outcome_of(self.breaker.config.classify, error), cause=type(error).__name__)
            raise
        with self.breaker.lock:
            permit.release(Outcome.SUCCESS)
        return value


def _plain(name: str, value: T) -> T:
    if iscoroutine(value):
        value.close()
        raise InvalidArgumentError(f"{name}: a function called as a plain one returned a coroutine; await `call`")
    return value
