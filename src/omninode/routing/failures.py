"""What a failure on one deployment means for the next, and what to say when none is left."""

from __future__ import annotations

from collections.abc import Sequence

from omninode.core import current
from omninode.core.errors import (
    AuthenticationError,
    BreakerOpenError,
    BulkheadFullError,
    CallerError,
    DeadlineExceededError,
    OmniNodeError,
    ProviderError,
    ProviderUnavailableError,
    RequestRejectedError,
)

__all__ = ["Failure", "is_final", "no_answer", "reason"]

Failure = tuple[str, Exception]
"""The name of a deployment and how it failed."""

# The request itself is at fault, so every deployment would refuse it. Not among them: 402 (no money left), 404 (no
# such model) and the rest, which speak of one deployment.
_AT_FAULT = frozenset({400, 413, 415, 422})


def is_final(error: Exception) -> bool:
    """Whether no other deployment can help: the request or the caller's time is at fault, or it is no failure of ours."""
    if isinstance(error, RequestRejectedError):
        return error.status in _AT_FAULT
    if isinstance(error, DeadlineExceededError):
        deadline = current.scope().deadline
        return deadline is None or deadline.has_passed
    return isinstance(error, CallerError) or not isinstance(error, OmniNodeError)


def reason(error: Exception) -> str:
    """The failure in a few words, for the label of a degraded answer."""
    if isinstance(error, AuthenticationError):
        return f"refused our key ({error.status})"
    if isinstance(error, BreakerOpenError):
        return "breaker open"
    if isinstance(error, BulkheadFullError):
        return "no place free"
    status = error.status if isinstance(error, ProviderError) else None
    kind = type(error).__name__.removesuffix("Error")
    return f"{kind} {status}" if status is not None else kind


def no_answer(role: str, failures: Sequence[Failure]) -> Exception:
    """The error for a role none of whose deployments answered, naming each; one that may pass with time comes first.

    A single failure is returned as it is: it names its deployment already.
    """
    if len(failures) == 1:
        return failures[0][1]
    told = "; ".join(f"[{name}] {error}" for name, error in failures)
    message = f"none of the {len(failures)} deployments for role {role!r} answered: {told}"
    _, worst = min(failures, key=lambda failure: _rank(failure[1]))
    waits = [wait for _, error in failures if (wait := getattr(error, "retry_after_s", None)) is not None]
    wait_s = min(waits, default=None)
    if isinstance(worst, ProviderError):
        built: Exception = type(worst)(message, status=worst.status, retryable=worst.retryable, retry_after_s=wait_s)
    elif isinstance(worst, BreakerOpenError):
        built = BreakerOpenError(message, breaker=worst.breaker, retry_after_s=wait_s)
    elif isinstance(worst, DeadlineExceededError):
        built = DeadlineExceededError(message)
    else:
        built = ProviderUnavailableError(message, retry_after_s=wait_s)
    built.__cause__ = worst
    return built


def _rank(error: Exception) -> int:
    """Lower says more about what to do next."""
    if isinstance(error, ProviderError):
        return 0 if error.retryable else 1
    if isinstance(error, DeadlineExceededError):
        return 2
    return 4 if isinstance(error, BreakerOpenError) else 3
