"""What an ending says about the thing that was called.

Two questions are answered apart, from the type and the status of an error and never from its text: does it count
against the health of the other side (`classify`), and may the same call succeed when tried again (`is_retryable`).
"""

from __future__ import annotations

import errno
import ssl
from collections.abc import Callable
from enum import Enum

from omninode.core.errors import (
    AttemptTimeoutError,
    CallerError,
    DeadlineExceededError,
    OmniNodeError,
    RefusedError,
    RemoteError,
    SourceError,
    ThrottledError,
)

__all__ = ["FAILURES", "Classifier", "Outcome", "classify", "is_retryable", "outcome_of", "status_of"]


class Outcome(Enum):
    """How an attempt ended, as far as the health of the other side is concerned."""

    SUCCESS = "success"
    TRANSIENT = "transient"
    """It failed and may do better next time: connection errors, 5xx, a cut stream, an unknown error."""
    TIMEOUT = "timeout"
    OVERLOAD = "overload"
    """It asked for less: 429, 503, 529."""
    CLIENT = "client"
    """The request or our code is at fault; says nothing about the other side."""
    NEUTRAL = "neutral"
    """Cancelled, refused by ourselves, or given too little time to say anything."""


Classifier = Callable[[BaseException], Outcome]

FAILURES = frozenset({Outcome.TRANSIENT, Outcome.TIMEOUT, Outcome.OVERLOAD})
"""The outcomes that count against the health of the other side."""

_OVERLOAD_STATUS = frozenset({429, 503, 529})
_TIMEOUT_STATUS = frozenset({408, 504})

# These come from a mistake in the code that was called, so the next attempt meets the same mistake.
_DEFECTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    NameError,
    NotImplementedError,
    SyntaxError,
    TypeError,
)
_LOCAL_OS_ERRORS = (
    FileExistsError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
    ssl.SSLCertVerificationError,
)
_LOCAL_ERRNO = frozenset({errno.ENOSPC, errno.EROFS, errno.EINVAL, errno.ENAMETOOLONG})

# From what says least about the other side to what says most; an exception group is as bad as its worst member.
_SEVERITY = (Outcome.NEUTRAL, Outcome.CLIENT, Outcome.TRANSIENT, Outcome.TIMEOUT, Outcome.OVERLOAD)


def classify(error: BaseException) -> Outcome:
    """The outcome that `error` stands for; an error nothing is known about counts as TRANSIENT."""
    if not isinstance(error, Exception):
        return Outcome.NEUTRAL
    if isinstance(error, ExceptionGroup):
        return max((classify(member) for member in error.exceptions), key=_SEVERITY.index)
    if isinstance(error, OmniNodeError):
        return _of_ours(error)
    status = status_of(error)
    return _of_foreign(error) if status is None else _of_status(status)


def is_retryable(error: BaseException) -> bool:
    """Whether the same call may succeed when tried again: our own errors say so themselves, others by class."""
    if isinstance(error, OmniNodeError):
        return error.retryable
    return classify(error) in FAILURES


def outcome_of(classifier: Classifier, error: BaseException) -> Outcome:
    """What `classifier` makes of `error`; TRANSIENT, with a note on the error, when that fails or is no Outcome.

    A permit must come back whatever a user's classifier does, so its failure cannot be let through.
    """
    if classifier is classify:
        return classify(error)
    try:
        outcome = classifier(error)
    except Exception as failure:  # noqa: BLE001 - border: user-supplied callback
        what = f"failed with {failure!r}"
    else:
        if isinstance(outcome, Outcome):
            return outcome
        what = f"gave {outcome!r}, which is no Outcome"
    error.add_note(f"omninode: the classifier {what}; the error counts as transient")
    return Outcome.TRANSIENT


def status_of(error: BaseException) -> int | None:
    """The HTTP status an error carries (`status`, `status_code`, or that of its `response`), None without one."""
    for holder in (error, getattr(error, "response", None)):
        for name in ("status", "status_code"):
            value = getattr(holder, name, None)
            if isinstance(value, int) and not isinstance(value, bool) and 100 <= value <= 599:
                return int(value)
    return None


def _of_ours(error: OmniNodeError) -> Outcome:
    if isinstance(error, DeadlineExceededError):
        # The caller's time is over. Only an attempt that had its fair time and did not answer speaks against the
        # other side; `timeout` marks it with this cause.
        return Outcome.TIMEOUT if isinstance(error.__cause__, AttemptTimeoutError) else Outcome.NEUTRAL
    if isinstance(error, RefusedError):
        return Outcome.NEUTRAL
    if isinstance(error, ThrottledError):
        return Outcome.OVERLOAD
    if isinstance(error, AttemptTimeoutError):
        return Outcome.TIMEOUT
    if isinstance(error, CallerError) or not isinstance(error, RemoteError):
        return Outcome.CLIENT
    status = status_of(error)
    if status is not None:
        return _of_status(status)
    return Outcome.TRANSIENT if error.retryable or isinstance(error, SourceError) else Outcome.CLIENT


def _of_status(status: int) -> Outcome:
    if status in _OVERLOAD_STATUS:
        return Outcome.OVERLOAD
    if status in _TIMEOUT_STATUS:
        return Outcome.TIMEOUT
    return Outcome.CLIENT if 400 <= status < 500 else Outcome.TRANSIENT


def _of_foreign(error: Exception) -> Outcome:
    if isinstance(error, TimeoutError):
        return Outcome.TIMEOUT
    if isinstance(error, (*_DEFECTS, *_LOCAL_OS_ERRORS)):
        return Outcome.CLIENT
    if isinstance(error, OSError) and error.errno in _LOCAL_ERRNO:
        return Outcome.CLIENT
    return Outcome.TRANSIENT
