"""Ids that sort, errors that travel, money that adds up, events that reach every sink."""

from __future__ import annotations

import pickle
import threading
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omninode.core import current, errors
from omninode.core.errors import BreakerOpenError, OmniNodeError, ThrottledError
from omninode.core.events import MetricRecorded, Tee
from omninode.core.ids import short, stable_hash, time_of, uuid7
from omninode.core.usage import Cost, Usage, total_cost, total_usage
from omninode.testing.sink import RecordingSink

pytestmark = pytest.mark.unit


def test_ids_rise_even_from_many_threads() -> None:
    made: list[list[int]] = [[] for _ in range(4)]

    def make(into: list[int]) -> None:
        into.extend(uuid7().int for _ in range(2_000))

    threads = [threading.Thread(target=make, args=(mine,)) for mine in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(mine == sorted(mine) for mine in made)
    assert len({number for mine in made for number in mine}) == 8_000


def test_an_id_has_the_form_of_rfc_9562_and_tells_its_time() -> None:
    before = datetime.now(UTC)
    identifier = uuid7()
    assert (identifier.version, identifier.variant) == (7, "specified in RFC 4122")
    assert abs((time_of(identifier) - before).total_seconds()) < 5
    assert identifier.hex.endswith(short(identifier))


@given(st.lists(st.text(), max_size=4), st.lists(st.text(), max_size=4))
def test_different_parts_have_different_hashes(left: list[str], right: list[str]) -> None:
    assert (stable_hash(*left) == stable_hash(*right)) == (left == right)


@pytest.mark.parametrize("name", errors.__all__)
def test_errors_survive_pickling_with_their_attributes(name: str) -> None:
    error = getattr(errors, name)("what happened")
    error.retry_after_s = 2.5
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.message, copy.retry_after_s) == (type(error), "what happened", 2.5)
    assert isinstance(copy, OmniNodeError)


def test_an_error_says_whether_trying_again_helps() -> None:
    assert ThrottledError("slow down").retryable
    assert not BreakerOpenError("open", breaker="b").retryable
    assert not ThrottledError("final", retryable=False).retryable


def test_usage_and_cost_add_up_and_keep_what_is_unknown() -> None:
    usage = total_usage([Usage(input_tokens=3, output_tokens=1), Usage(output_tokens=2, is_estimated=True)])
    assert (usage.total_tokens, usage.is_estimated) == (6, True)
    cost = total_cost([Cost(micro_usd=5), Cost.unpriced(), Cost(micro_usd=7)])
    assert (cost.micro_usd, cost.is_complete) == (12, False)


def test_a_sink_is_attached_for_a_while_only() -> None:
    always, briefly = RecordingSink(), RecordingSink()
    tee = Tee(always)
    with tee.attached(briefly):
        tee.emit(MetricRecorded(metric="a", value=1))
    tee.emit(MetricRecorded(metric="b", value=2))
    assert [event.metric for event in always.of(MetricRecorded)] == ["a", "b"]
    assert [event.metric for event in briefly.of(MetricRecorded)] == ["a"]


def test_a_scope_ends_with_its_body() -> None:
    with current.entered(phase="outer"), current.entered(task_id="t1"):
        assert (current.scope().phase, current.scope().task_id) == ("outer", "t1")
    assert current.scope().phase is None
