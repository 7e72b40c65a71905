"""What a failure means for the next deployment, and what is said when none is left."""

from __future__ import annotations

import pytest

from omninode.core import current
from omninode.core.deadline import Deadline
from omninode.core.errors import (
    AuthenticationError,
    BreakerOpenError,
    BulkheadFullError,
    ConfigurationError,
    DeadlineExceededError,
    MalformedAnswerError,
    ProviderUnavailableError,
    RequestRejectedError,
    ThrottledError,
)
from omninode.routing import failures

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("error", "final"),
    [
        (RequestRejectedError("x", status=400), True),
        (RequestRejectedError("x", status=422), True),
        (RequestRejectedError("x", status=404), False),
        (RequestRejectedError("x", status=402), False),
        (AuthenticationError("x", status=401), False),
        (ThrottledError("x", status=429), False),
        (MalformedAnswerError("x"), False),
        (BulkheadFullError("x"), False),
        (BreakerOpenError("x"), False),
        (ConfigurationError("x"), True),
        (DeadlineExceededError("x"), True),
        (TypeError("a bug of ours"), True),
    ],
)
def test_whether_another_deployment_can_help(error, final):
    assert failures.is_final(error) is final


def test_a_share_of_the_time_that_is_over_is_not_the_end_of_the_time():
    with current.entered(deadline=Deadline.after(60)):
        assert not failures.is_final(DeadlineExceededError("x"))


def test_the_class_is_that_of_the_failure_worth_acting_on():
    throttled = ThrottledError("slow", status=429, retry_after_s=9.0)
    error = failures.no_answer(
        "voter",
        [("a", AuthenticationError("no", status=401)), ("b", BreakerOpenError("x", retry_after_s=4)), ("c", throttled)],
    )
    assert type(error) is ThrottledError
    assert (error.status, error.retryable, error.retry_after_s, error.__cause__) == (429, True, 4, throttled)
    assert str(error) == "none of the 3 deployments for role 'voter' answered: [a] no; [b] x; [c] slow"


def test_only_breakers_in_the_way_are_a_breaker_error():
    error = failures.no_answer(
        "voter", [("a", BreakerOpenError("x", retry_after_s=9)), ("b", BreakerOpenError("y", retry_after_s=4))]
    )
    assert (type(error), error.retry_after_s) == (BreakerOpenError, 4)


def test_a_single_failure_is_raised_as_it_is():
    error = ProviderUnavailableError("gone")
    assert failures.no_answer("voter", [("a", error)]) is error
