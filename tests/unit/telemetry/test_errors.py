"""One cause, one fingerprint: stable over values and repetition, different over types and paths."""

import re
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omninode.core import current
from omninode.core.concurrency import Settled
from omninode.core.deadline import Deadline
from omninode.core.errors import InvalidArgumentError, OmniNodeError, ThrottledError
from omninode.telemetry.errors import error_event, fingerprint, mask, tell_error
from omninode.testing.sink import RecordingSink

pytestmark = pytest.mark.unit

KEY = "sk-ant-api03-Zq8Xw3Lm5Tn7Vb2Kc9Rd4Hf6"


def raised(function, *args) -> BaseException:
    try:
        function(*args)
    except (ValueError, RuntimeError, OmniNodeError) as error:
        return error
    raise AssertionError("nothing was raised")


def plain(message: str) -> BaseException:
    return ValueError(message)


@given(st.floats(max_value=-0.001), st.floats(max_value=-0.001))
def test_the_same_place_gives_the_same_fingerprint_whatever_the_values(one, other):
    assert fingerprint(raised(Deadline.after, one)) == fingerprint(raised(Deadline.after, other))


def test_another_place_or_another_type_gives_another_fingerprint():
    deadline = raised(Deadline.after, -1)
    elsewhere = raised(Settled(status="stopped").unwrap)
    assert isinstance(deadline, InvalidArgumentError)
    assert len({fingerprint(error) for error in (deadline, elsewhere, plain("x"), TypeError("x"))}) == 4


@given(st.integers(min_value=0), st.uuids(), st.ip_addresses(v=4))
def test_outside_our_code_the_message_template_decides(number, identifier, address):
    one = plain(f"row {number} of {identifier} at {address}: 'a' is not there")
    assert fingerprint(one) == fingerprint(plain(f"row 7 of {uuid4()} at 10.0.0.1: 'b' is not there"))
    assert fingerprint(one) != fingerprint(plain("column is not there"))


def test_the_cause_tells_errors_apart_but_what_was_handled_meanwhile_does_not():
    def wrap(cause: Exception | None) -> BaseException:
        try:
            raise RuntimeError("gave up") from cause
        except RuntimeError as error:
            return error

    def handling() -> BaseException:
        try:
            raise KeyError("unrelated")
        except KeyError:
            try:
                raise RuntimeError("gave up")
            except RuntimeError as error:
                return error

    assert fingerprint(wrap(KeyError("a"))) != fingerprint(wrap(None))
    assert fingerprint(handling()) == fingerprint(wrap(None))


def test_a_chain_that_ends_in_itself_ends():
    one, other = plain("a"), plain("b")
    one.__cause__, other.__cause__ = other, one
    assert re.fullmatch(r"[0-9a-f]{16}", fingerprint(one))


@pytest.mark.parametrize(
    ("message", "template"),
    [
        ("no answer from https://api.example.com/v1?x=1 in 3.5 s", "no answer from <url> in <n> s"),
        ("cannot open /var/lib/data/7.db", "cannot open <path>"),
        ("host db-3.internal.example.com:5432 refused", "host <host> refused"),
        ("user bob@example.com unknown", "user <email> unknown"),
        ("it's 12 o'clock", "it's <n> o'clock"),
        ("commit deadbeef01 is missing", "commit <hex> is missing"),
        ("facade is a word", "facade is a word"),
    ],
)
def test_what_varies_in_a_message_is_masked(message, template):
    assert mask(message) == template


def test_the_event_of_an_error_knows_its_scope_and_holds_no_secret():
    run_id = uuid4()
    with current.entered(run_id=run_id, phase="context_gathering", task_id="t1", agent_id="coder"):
        event = error_event(ThrottledError(f"429 with {KEY}"), where="router", attempt=2, context={"token": "abc"})
    assert (event.run_id, event.phase, event.where, event.attempt) == (run_id, "context_gathering", "router", 2)
    assert (event.error_class, event.retryable) == ("ThrottledError", True)
    assert (event.context["task_id"], event.context["agent_id"]) == ("t1", "coder")
    assert "Zq8Xw" not in repr(event)
    assert event.context["token"] == "[redacted]"


def test_an_error_without_a_message_is_told_by_its_class():
    assert error_event(KeyError()).message == "KeyError"


def test_one_cause_is_told_once_by_whoever_meets_it_first():
    sink = RecordingSink()
    cause = ValueError("first")
    tell_error(sink, cause, where="near", attempt=2, context={"deployment": "d"})
    tell_error(sink, cause, where="further out")
    try:
        raise KeyError("second") from cause
    except KeyError as error:
        tell_error(sink, error, where="outermost")
    tell_error(sink, ValueError("first"), where="another")
    assert [(event.where, event.attempt) for event in sink.events] == [("near", 2), ("another", 1)]
    assert sink.events[0].context["deployment"] == "d"
