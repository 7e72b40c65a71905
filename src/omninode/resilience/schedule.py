"""Whether a failed attempt is followed by another, and after which wait."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from omninode.core.deadline import Deadline
from omninode.core.errors import InvalidArgumentError, RefusedError
from omninode.resilience.backoff import asked_wait_s, backoff_bound_s, draw_wait_s
from omninode.resilience.budget import BudgetConfig, RetryBudget
from omninode.resilience.classify import Classifier, Outcome, classify, is_retryable
from omninode.resilience.ranges import require_callable, require_count, require_kind, require_seconds, require_share

__all__ = ["CallRecord", "RetryConfig", "is_worth_it", "note_end", "wait_after"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryConfig:
    """When and how to try again. The defaults are the document's.

    Args:
        max_retries: further attempts after the first; 0 for none.
        base_delay: bound of the first wait, in seconds.
        max_delay: bound of any drawn wait, in seconds.
        backoff_multiplier: each wait's bound is so many times the one before; 1 to 1000.
        jitter: draw the wait evenly between zero and its bound; False waits the whole bound. "decorrelated" draws
            between `base_delay` and three times the wait before, up to `max_delay`, which spreads callers further
            (AWS Architecture Blog, "Exponential Backoff And Jitter").
        max_retry_after: the longest Retry-After waited for, in seconds; one that asks for more fails the call now, because
            coming back sooner than asked would only be refused again.
        deadline_s: seconds for all attempts and waits together, besides the deadline of the scope.
        budget: limits retries to what successes have paid for; None for no such limit.
        retry_on: whether an error is worth another attempt, instead of its class and status.
        classify: what an error says about the other side.
    """

    max_retries: int = 3
    base_delay: float = 0.1
    max_delay: float = 10.0
    backoff_multiplier: float = 2.0
    jitter: bool | Literal["full", "decorrelated"] = True
    max_retry_after: float = 60.0
    deadline_s: float | None = None
    budget: BudgetConfig | None = None
    retry_on: Callable[[BaseException], bool] = is_retryable
    classify: Classifier = classify

    def __post_init__(self) -> None:
        owner = "RetryConfig"
        require_count(owner, "max_retries", self.max_retries, at_least=0)
        require_seconds(owner, "base_delay", self.base_delay, positive=False)
        require_seconds(owner, "max_delay", self.max_delay, positive=False)
        require_share(owner, "backoff_multiplier", self.backoff_multiplier, low=1.0, high=1000.0)
        if self.jitter not in (True, False, "full", "decorrelated"):
            raise InvalidArgumentError(
                f"{owner}: jitter is {self.jitter!r}; pass True or 'full', False, or 'decorrelated'"
            )
        require_seconds(owner, "max_retry_after", self.max_retry_after, positive=False)
        require_callable(owner, "retry_on", self.retry_on)
        require_callable(owner, "classify", self.classify)
        require_kind(owner, "budget", self.budget, BudgetConfig, type(None))
        if self.deadline_s is not None:
            require_seconds(owner, "deadline_s", self.deadline_s)


class CallRecord:
    """What happens in one call: how many attempts, the waits between them, why it stopped trying.

    `retries` is how many further attempts this call may make: those of its configuration, or none inside the attempt
    of another retry owner. A try that we refused ourselves is no attempt; `refusals` counts those. `config` stands for
    the configuration of the manager in this one call. `unheard` is how the first attempt ended when it was made before
    the manager was asked, by a compiled frame.
    """

    # Defaults on the class, not slots: a call that succeeds at once writes three of them, and this is its whole price.
    config: RetryConfig | None = None
    retries = 0
    deadline: Deadline | None = None
    attempts = 0
    refusals = 0
    waits_s: tuple[float, ...] = ()
    last_error: BaseException | None = None
    gave_up = ""
    is_exhausted = False
    started = 0.0
    is_counted = False
    unheard: BaseException | None = None

    def __init__(self, label: str = "") -> None:
        self.label = label


def wait_after(
    error: Exception,
    outcome: Outcome,
    *,
    record: CallRecord,
    config: RetryConfig,
    budget: RetryBudget | None,
    rng: random.Random,
) -> float | None:
    """Seconds until the attempt that follows `error`; None when none is to follow, with the reason in `record`.

    What costs nothing is asked first; a token of the budget is taken last, when it is sure to be used.
    """
    if isinstance(error, RefusedError) and error.__cause__ is None:
        # The breaker opened between two attempts: the caller should still see what opened it.
        error.__cause__ = record.last_error
    record.last_error = error
    if not is_worth_it(error, config):
        record.gave_up = "another attempt would not help"
        return None
    record.is_exhausted = True
    if record.attempts + record.refusals > record.retries:
        record.gave_up = "no more attempts are allowed"
        return None
    asked = asked_wait_s(error)
    if asked is not None and asked > config.max_retry_after:
        record.gave_up = f"it asks for a wait of {asked:.1f} s, longer than max_retry_after {config.max_retry_after} s"
        return None
    wait_s = _drawn_wait_s(record, config, asked=asked, rng=rng)
    if record.deadline is not None and wait_s >= record.deadline.remaining():
        record.gave_up = f"a wait of {wait_s:.2f} s would pass the deadline"
        return None
    if budget is not None and not budget.withdraw(outcome, is_asked=asked is not None):
        record.gave_up = "the retry budget of this target is used up"
        return None
    record.is_exhausted = False
    record.waits_s += (wait_s,)
    return wait_s


def _drawn_wait_s(record: CallRecord, config: RetryConfig, *, asked: float | None, rng: random.Random) -> float:
    if config.jitter == "decorrelated":
        before = record.waits_s[-1] if record.waits_s else config.base_delay
        wait_s = min(config.max_delay, rng.uniform(config.base_delay, max(config.base_delay, 3 * before)))
        return wait_s if asked is None else max(wait_s, asked)
    bound = backoff_bound_s(
        record.attempts + record.refusals,
        base_s=config.base_delay,
        multiplier=config.backoff_multiplier,
        max_s=config.max_delay,
    )
    return draw_wait_s(bound, jitter=bool(config.jitter), floor_s=asked, rng=rng)


def note_end(record: CallRecord, name: str) -> None:
    """Write on the last error how many attempts there were and why they ended, where there is more to say than one."""
    if record.last_error is not None and (record.attempts > 1 or (record.is_exhausted and record.retries)):
        tries = "1 attempt" if record.attempts == 1 else f"{record.attempts} attempts"
        if record.refusals:
            tries += f" and {record.refusals} refused"
        record.last_error.add_note(f"omninode: {name} gave up after {tries}: {record.gave_up}")


def is_worth_it(error: Exception, config: RetryConfig) -> bool:
    """Whether `config` would try again after `error`."""
    if config.retry_on is is_retryable:
        return is_retryable(error)
    try:
        return config.retry_on(error)
    except Exception as failure:  # noqa: BLE001 - border: user-supplied callback
        error.add_note(f"omninode: retry_on failed with {failure!r}; the call is not repeated")
        return False
