"""Whose fault an error is, and whether trying again helps."""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest

from omninode.core import errors
from omninode.resilience import Outcome, classify, is_retryable
from omninode.resilience.classify import status_of

pytestmark = pytest.mark.unit


def answered(status):
    error = Exception("answer")
    error.status_code = status
    return error


def past_deadline(cause):
    error = errors.DeadlineExceededError("too late")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "outcome", "retryable"),
    [
        (errors.ThrottledError("x", status=429), Outcome.OVERLOAD, True),
        (errors.ProviderUnavailableError("x", status=502), Outcome.TRANSIENT, True),
        (errors.ProviderUnavailableError("x"), Outcome.TRANSIENT, True),
        (errors.AttemptTimeoutError("x"), Outcome.TIMEOUT, True),
        (errors.MalformedAnswerError("x"), Outcome.TRANSIENT, True),
        (errors.AuthenticationError("x", status=401), Outcome.CLIENT, False),
        (errors.AuthenticationError("x"), Outcome.CLIENT, False),
        (errors.RequestRejectedError("x", status=422), Outcome.CLIENT, False),
        (errors.DatabaseUnavailableError("x"), Outcome.TRANSIENT, True),
        (errors.DatabaseError("x", sqlstate="23505"), Outcome.CLIENT, False),
        (errors.SourceError("x"), Outcome.TRANSIENT, False),
        (errors.BreakerOpenError("x"), Outcome.NEUTRAL, False),
        (errors.PoolExhaustedError("x"), Outcome.NEUTRAL, True),
        (errors.InvalidArgumentError("x"), Outcome.CLIENT, False),
        (errors.DefectError("x"), Outcome.CLIENT, False),
        (past_deadline(None), Outcome.NEUTRAL, False),
        (past_deadline(errors.AttemptTimeoutError("x")), Outcome.TIMEOUT, False),
        (answered(429), Outcome.OVERLOAD, True),
        (answered(503), Outcome.OVERLOAD, True),
        (answered(529), Outcome.OVERLOAD, True),
        (answered(504), Outcome.TIMEOUT, True),
        (answered(500), Outcome.TRANSIENT, True),
        (answered(404), Outcome.CLIENT, False),
        (ConnectionResetError(), Outcome.TRANSIENT, True),
        (asyncio.IncompleteReadError(b"", 4), Outcome.TRANSIENT, True),
        (socket.gaierror(socket.EAI_AGAIN, "again"), Outcome.TRANSIENT, True),
        (ssl.SSLCertVerificationError("x"), Outcome.CLIENT, False),
        (TimeoutError(), Outcome.TIMEOUT, True),
        (FileNotFoundError(), Outcome.CLIENT, False),
        (AttributeError(), Outcome.CLIENT, False),
        (RuntimeError("unknown"), Outcome.TRANSIENT, True),
        (asyncio.CancelledError(), Outcome.NEUTRAL, False),
        (KeyboardInterrupt(), Outcome.NEUTRAL, False),
        (ExceptionGroup("g", [TypeError(), TimeoutError()]), Outcome.TIMEOUT, True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_an_error_is_classed_by_type_and_status(error, outcome, retryable):
    assert (classify(error), is_retryable(error)) == (outcome, retryable)


def test_what_is_no_status_is_not_taken_for_one():
    for value in ("503", True, 42, 1000, None):
        error = Exception()
        error.status = value
        assert status_of(error) is None
