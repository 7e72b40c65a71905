"""A policy in words: its parts in the order in which a call passes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from omninode.resilience.breaker import CircuitBreaker
from omninode.resilience.bulkhead import Bulkhead
from omninode.resilience.fallback import Fallback
from omninode.resilience.schedule import RetryConfig
from omninode.resilience.stack import Stack

if TYPE_CHECKING:
    from omninode.resilience.parking import Park

__all__ = ["breaker_line", "bulkhead_line", "explained", "fallback_line", "park_line", "retry_line"]

_ORDER = (
    "fallback", "deadline", "park", "bulkhead", "retry", "hedge", "throttle", "rate", "limit", "breaker",
    "soft_timeout", "attempt timeout", "chaos", "call",
)  # fmt: skip


def explained(own: dict[str, str], stack: Stack) -> str:
    """One numbered line per part; `own` has those of the usual parts, empty for one that is missing."""
    lines = [own[part] if part in own else stack.explain(part) for part in _ORDER]
    return "\n".join(f"{number}. {line}" for number, line in enumerate(filter(None, lines), 1))


def fallback_line(fallback: Fallback | None) -> str:
    """What it answers for."""
    if fallback is None:
        return ""
    return f"fallback: {fallback.label!r} answers for faults, refusals and passed deadlines"


def park_line(park: Park | None) -> str:
    """How many wait, and for whom there is time."""
    if park is None:
        return ""
    return f"park: up to {park.max_calls} calls wait for the breaker, where the deadline leaves {park.margin_s:g} s after it"


def bulkhead_line(bulkhead: Bulkhead | None) -> str:
    """The cap and the line."""
    if bulkhead is None:
        return ""
    return f"bulkhead: {bulkhead.config.max_concurrent} calls at once, {bulkhead.config.max_queue} may wait"


def breaker_line(breaker: CircuitBreaker | None) -> str:
    """The state, the rule and the break."""
    if breaker is None:
        return ""
    rule = breaker.config.detector or f"{breaker.config.failure_threshold} failures in a row"
    return (
        f"breaker: {breaker.name!r} is {breaker.state.value}; opens after {rule}, "
        f"breaks for up to {breaker.config.timeout_seconds:g} s"
    )


def retry_line(config: RetryConfig) -> str:
    """How often, after which waits, within which budget."""
    if config.max_retries == 0:
        return "retry: none"
    drawn = "drawn up to" if config.jitter else "of"
    budget = "" if config.budget is None else f", within a budget of {config.budget.size:g}"
    return (
        f"retry: {config.max_retries} further attempts, waits {drawn} {config.base_delay:g} s "
        f"x {config.backoff_multiplier:g} each, at most {config.max_delay:g} s, Retry-After honoured{budget}"
    )
