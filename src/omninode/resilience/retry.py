"""Trying again: how often, after which wait, and when not to.

The state of a retry belongs to the call; the `RetryManager` only holds settings, counters and the budget, so one
serves any number of concurrent calls. In a chain of calls the outermost one that retries owns the retries: inside its
attempts every other `RetryManager` makes one attempt, because 3 x 3 x 3 attempts is how a small outage is kept alive.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from inspect import isawaitable
from types import CoroutineType
from typing import Any, ParamSpec, TypeVar

from omninode.core import ambient, current
from omninode.core.clock import Clock, SystemClock
from omninode.core.current import Scope
from omninode.core.deadline import Deadline
from omninode.core.errors import RefusedError
from omninode.core.events import AttemptFinished, EventSink, RetryScheduled, shielded
from omninode.resilience.backoff import asked_wait_s
from omninode.resilience.budget import RetryBudget
from omninode.resilience.classify import Outcome, outcome_of
from omninode.resilience.schedule import CallRecord, RetryConfig, is_worth_it, note_end, wait_after
from omninode.resilience.snapshot import RetrySnapshot
from omninode.resilience.timeout import AttemptTimeout

__all__ = ["CallRecord", "RetryConfig", "RetryManager", "RetrySnapshot", "RetryStatistics", "execute_with_retry"]

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryStatistics:
    """What a retry manager has done since it was made."""

    name: str
    calls: int
    attempts: int
    retries: int
    recovered: int
    """Calls that succeeded after at least one failed attempt."""
    exhausted: int
    """Calls that failed although their error was worth another attempt."""
    budget_tokens: float | None
    budget_denied: int
    last_error: str | None


class RetryManager:
    """Runs calls and repeats those that failed in a way another attempt may cure.

    Without a `sink` nothing is measured, and a successful call costs about a microsecond more than a bare one.
    `name` is what its events, notes and stored counters are called; a policy or target name is best.
    """

    def __init__(
        self,
        config: RetryConfig | None = None,
        *,
        clock: Clock | None = None,
        sink: EventSink | None = None,
        seed: int | None = None,
        name: str = "default",
        bounds_attempts: bool = True,
    ) -> None:
        self.name = name
        self.config = config or RetryConfig()
        self._clock = clock or SystemClock()
        self._sink = shielded(sink)
        self._random = random.Random(seed)  # noqa: S311 - jitter, not a secret
        self._budget = RetryBudget(self.config.budget) if self.config.budget is not None else None
        # False where something inside the attempt keeps the deadline already (a policy's attempt timeout).
        self._limit = AttemptTimeout(name) if bounds_attempts else None
        self.tells_success = self._sink is not None or self._budget is not None
        self.smooth = 0
        self._counts = _Counts()
        # The scope of the last caller and the one made from it: calls in a loop come from the same.
        self._scopes: tuple[Scope, Scope] | None = None

    @property
    def budget(self) -> RetryBudget | None:
        """What its retries are paid from; None when they are free."""
        return self._budget

    @property
    def has_sink(self) -> bool:
        """Whether somebody is told of every attempt."""
        return self._sink is not None

    def execute(self, func: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        """What `func(*args, **kwargs)` returns, after as many attempts as the configuration allows.

        Raises the error of the last attempt, with a note saying how many there were; its cause is kept. Never sleeps
        after the last attempt. A cancellation is passed on at once. A deadline of the scope bounds attempts and waits.
        """
        return self._run(CallRecord(), self.config, func, *args, **kwargs)

    def record(
        self, record: CallRecord, func: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, T]:
        """The same as `execute`, writing down in `record` what happens."""
        return self._run(record, record.config or self.config, func, *args, **kwargs)

    def execute_as(
        self, config: RetryConfig, func: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, T]:
        """The same as `execute`, by `config` instead of the configuration of the manager; the budget stays its own."""
        return self._run(CallRecord(), config, func, *args, **kwargs)

    def resume(
        self, record: CallRecord, func: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, T]:
        """The same as `record`, for a call whose first attempt was made elsewhere and failed with `record.unheard`."""
        record.attempts = 1
        self._counts.attempts += 1
        return self._run(record, record.config or self.config, func, *args, **kwargs)

    def begin(self, record: CallRecord, outer: Scope) -> Scope:
        """The scope for the attempts of a call that is made elsewhere; tell each with `failed` or `succeeded`."""
        self._counts.calls += 1
        return self._scope_for(outer, self.config, record)

    def failed(self, error: BaseException, record: CallRecord, func: Callable[..., object]) -> float | None:
        """Count the attempt that failed; the wait before the next, None when there is to be none."""
        self._counts.attempts += 1
        return self._failed(error, record, self.config, func)

    def succeeded(self, record: CallRecord, func: Callable[..., object]) -> None:
        """Count the attempt that succeeded."""
        self._counts.attempts += 1
        self._succeeded(record, func)

    def tell_smooth(self, started: float, func: Callable[..., object]) -> None:
        """Tell of a call that was made elsewhere and succeeded at once; whoever made it adds one to `smooth`."""
        if self._budget is not None:
            self._budget.deposit()
        if self._sink is not None:
            record = CallRecord(self.name)
            record.attempts = 1
            record.started = started
            self._tell_attempt(record, func, Outcome.SUCCESS, None)

    def may_repeat(self, error: Exception) -> bool:
        """Whether a caller may try again by himself after `error`, on what `affords` lets him have.

        False without a budget: nothing else would keep such attempts in bounds.
        """
        return self._budget is not None and self.config.max_retries > 0 and is_worth_it(error, self.config)

    def affords(self, error: Exception) -> bool:
        """Whether the budget pays for one more attempt after `error`; it then has."""
        outcome, is_asked = outcome_of(self.config.classify, error), asked_wait_s(error) is not None
        return self._budget is not None and self._budget.withdraw(outcome, is_asked=is_asked)

    def statistics(self) -> RetryStatistics:
        """What it has done so far."""
        budget = self._budget
        return RetryStatistics(
            name=self.name,
            calls=self._counts.calls + self.smooth,
            attempts=self._counts.attempts + self.smooth,
            retries=self._counts.retries,
            recovered=self._counts.recovered,
            exhausted=self._counts.exhausted,
            budget_tokens=budget.tokens if budget else None,
            budget_denied=budget.denied if budget else 0,
            last_error=self._counts.last_error,
        )

    def snapshots(self) -> tuple[RetrySnapshot, ...]:
        """What to keep across restarts."""
        counts = self._counts
        return (
            RetrySnapshot(
                name=self.name,
                calls=counts.calls + self.smooth,
                attempts=counts.attempts + self.smooth,
                retries=counts.retries,
                recovered=counts.recovered,
                exhausted=counts.exhausted,
                budget_tokens=self._budget.tokens if self._budget else None,
                last_error=counts.last_error,
                updated_at=self._clock.now(),
            ),
        )

    def restore(self, snapshots: Iterable[RetrySnapshot]) -> None:
        """Go on counting from the snapshot of this name, if it is among `snapshots`."""
        for snapshot in snapshots:
            if snapshot.name == self.name:
                self._counts.add(snapshot)
                if self._budget is not None and snapshot.budget_tokens is not None:
                    self._budget.tokens = min(self._budget.config.size, max(0.0, snapshot.budget_tokens))

    # One call

    async def _run(
        self,
        record: CallRecord,
        config: RetryConfig,
        func: Callable[..., Awaitable[T]],
        # Any: the arguments of `func`, whose types the public methods check.
        *args: Any,
        **kwargs: Any,
    ) -> T:
        outer = current.scope()
        inner = self._scope_for(outer, config, record)
        limit = self._limit if record.deadline is not None else None
        token = current.enter(inner) if inner is not outer else None
        counts = self._counts
        counts.calls += not record.is_counted
        record.is_counted = True
        try:
            if record.unheard is not None:
                await self._clock.sleep(self._wait_or_raise(record, config, func))
            while True:
                record.attempts += 1
                counts.attempts += 1
                if self._sink is not None:
                    record.started = self._clock.monotonic()
                try:
                    result = func(*args, **kwargs) if limit is None else limit.call(func, *args, **kwargs)
                    if result.__class__ is CoroutineType or isawaitable(result):
                        value = await result
                    else:
                        value = result
                except BaseException as error:
                    wait_s = self._failed(error, record, config, func)
                    if wait_s is None:
                        raise
                else:
                    if self.tells_success or record.attempts > 1:
                        self._succeeded(record, func)
                    return value
                await self._clock.sleep(wait_s)
        finally:
            if token is not None:
                current.leave(token)

    def _wait_or_raise(self, record: CallRecord, config: RetryConfig, func: Callable[..., object]) -> float:
        error, record.unheard = record.unheard, None
        assert error is not None
        try:
            wait_s = self._failed(error, record, config, func)
            if wait_s is None:
                raise error
            return wait_s
        finally:
            del error

    def _scope_for(self, outer: Scope, config: RetryConfig, record: CallRecord) -> Scope:
        """The scope of the attempts: we own the retries unless somebody does, and the deadline may be nearer."""
        if outer.retry_owner is None:
            record.retries = config.max_retries
        if outer.deadline is not None:
            record.deadline = outer.deadline
        owner = self.name if record.retries else outer.retry_owner
        if config.deadline_s is not None:
            record.deadline = Deadline.after(config.deadline_s, clock=self._clock).narrowed(outer.deadline)
            return outer.limited(deadline=record.deadline, retry_owner=owner)
        if not record.retries:
            return outer
        if self._scopes is None or self._scopes[0] is not outer:
            self._scopes = (outer, outer.limited(deadline=outer.deadline, retry_owner=owner))
        return self._scopes[1]

    def _succeeded(self, record: CallRecord, func: Callable[..., object]) -> None:
        if self._budget is not None:
            self._budget.deposit()
        if record.attempts > 1:
            self._counts.recovered += 1
        if self._sink is not None:
            self._tell_attempt(record, func, Outcome.SUCCESS, None)

    def _failed(
        self, error: BaseException, record: CallRecord, config: RetryConfig, func: Callable[..., object]
    ) -> float | None:
        """The wait before the next attempt; None when there is to be none."""
        outcome = outcome_of(config.classify, error)
        if isinstance(error, RefusedError):
            # Nothing was tried: no attempt to count, and no event per rejection.
            record.attempts -= 1
            # One that is not tried again from here may be by somebody further out, and uses up none of the tries.
            record.refusals += error.retryable
            self._counts.attempts -= 1
        elif self._sink is not None:
            self._tell_attempt(record, func, outcome, error)
        if not isinstance(error, Exception):
            return None
        self._counts.last_error = type(error).__name__
        wait_s = wait_after(error, outcome, record=record, config=config, budget=self._budget, rng=self._random)
        if wait_s is None:
            self._counts.exhausted += record.is_exhausted
            note_end(record, self.name)
            return None
        self._counts.retries += 1
        if self._sink is not None:
            self._tell_retry(error, record, wait_s, func)
        return wait_s

    # Telling

    def _tell_attempt(
        self, record: CallRecord, func: Callable[..., object], outcome: Outcome, error: BaseException | None
    ) -> None:
        assert self._sink is not None
        scope = current.scope()
        self._sink.emit(
            AttemptFinished(
                run_id=scope.run_id,
                phase=scope.phase,
                call=record.label or _label(func),
                deployment=self.name,
                attempt=record.attempts,
                outcome=outcome.value,
                duration_ms=(self._clock.monotonic() - record.started) * 1000,
                error_class=None if error is None else type(error).__name__,
                error=None if error is None else str(error),
            )
        )

    def _tell_retry(self, error: Exception, record: CallRecord, wait_s: float, func: Callable[..., object]) -> None:
        assert self._sink is not None
        scope = current.scope()
        self._sink.emit(
            RetryScheduled(
                run_id=scope.run_id,
                phase=scope.phase,
                call=record.label or _label(func),
                attempt=record.attempts,
                wait_s=wait_s,
                error_class=type(error).__name__,
                error=str(error),
            )
        )


@dataclass(slots=True)
class _Counts:
    calls: int = 0
    attempts: int = 0
    retries: int = 0
    recovered: int = 0
    exhausted: int = 0
    last_error: str | None = None

    def add(self, snapshot: RetrySnapshot) -> None:
        self.calls += snapshot.calls
        self.attempts += snapshot.attempts
        self.retries += snapshot.retries
        self.recovered += snapshot.recovered
        self.exhausted += snapshot.exhausted
        self.last_error = self.last_error or snapshot.last_error


def _label(func: Callable[..., object]) -> str:
    return getattr(func, "__qualname__", None) or type(func).__name__


async def execute_with_retry(
    retry_manager: RetryManager | None,
    config: RetryConfig | None,
    func: Callable[..., Awaitable[T]],
    # Any: whatever `func` takes; the document's keyword form rules out ParamSpec here.
    *args: Any,
    **kwargs: Any,
) -> T:
    """What `func(*args, **kwargs)` returns, after as many attempts as `config` allows.

    Args:
        retry_manager: keeps the counters and the budget; None for a manager of this call alone.
        config: when and how to try again; None for the manager's own, or without one for what the RETRY_ settings
            of the open runtime say.
        func: an async function.

    Raises the error of the last attempt, with the number of attempts in its notes and its cause kept.
    """
    manager = retry_manager or RetryManager(config or _configured())
    return await manager.execute_as(config or manager.config, func, *args, **kwargs)


def _configured() -> RetryConfig | None:
    """What the RETRY_ variables say, where a runtime is open that has read them."""
    runtime = ambient.find()
    return None if runtime is None else runtime.retry_config
