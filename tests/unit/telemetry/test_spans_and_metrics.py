"""Spans nest and tell their parent; series stay bounded."""

from uuid import uuid4

import pytest

from omninode.core import current
from omninode.core.errors import InvalidArgumentError
from omninode.core.events import MetricRecorded
from omninode.telemetry.metrics import MetricRegistry
from omninode.telemetry.spans import SPAN_METRIC, span
from omninode.testing.clock import FakeClock
from omninode.testing.sink import RecordingSink

pytestmark = pytest.mark.unit


def test_spans_nest_and_are_timed():
    sink, clock, run_id = RecordingSink(), FakeClock(), uuid4()
    with current.entered(run_id=run_id, phase="context_gathering"), span(sink, "outer", clock=clock) as outer:
        clock.advance(1)
        with span(sink, "inner", clock=clock, source="web") as inner:
            clock.advance(2)
            inner.note(items=3)
    first, second = sink.of(MetricRecorded)
    assert (first.metric, first.value, second.value) == (SPAN_METRIC, pytest.approx(2000), pytest.approx(3000))
    assert first.labels == {
        "name": "inner",
        "source": "web",
        "items": 3,
        "span_id": str(inner.id),
        "parent_id": str(outer.id),
    }
    assert "parent_id" not in second.labels
    assert (first.run_id, first.phase) == (run_id, "context_gathering")
    assert current.scope().span_id is None


def test_a_raising_span_is_marked_and_the_error_goes_on():
    sink = RecordingSink()
    with pytest.raises(KeyError), span(sink, "rank"):
        raise KeyError("x")
    assert (sink.of(MetricRecorded)[0].ok, sink.of(MetricRecorded)[0].labels["error_class"]) == (False, "KeyError")


def test_series_count_and_observe_by_label():
    registry = MetricRegistry()
    registry.count("calls", model="a")
    registry.count("calls", 2, model="a")
    registry.count("calls", model="b")
    for value in range(1, 101):
        registry.observe("wait_ms", value)
    reading = registry.read()
    assert [(entry.labels["model"], entry.total) for entry in reading.counters] == [("a", 3), ("b", 1)]
    (wait,) = reading.distributions
    assert (wait.count, wait.p50, wait.largest) == (100, pytest.approx(50, rel=0.02), 100)


def test_labels_without_end_share_one_series():
    registry = MetricRegistry(max_series=2)
    for number in range(10):
        registry.count("runs", run=str(number))
    reading = registry.read()
    assert sum(entry.total for entry in reading.counters) == 10
    assert (len(reading.counters), reading.overflowed) == (3, 8)


def test_a_counter_never_goes_down():
    with pytest.raises(InvalidArgumentError, match="only go up"):
        MetricRegistry().count("calls", -1)
