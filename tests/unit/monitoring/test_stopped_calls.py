"""A call that was stopped because a quorum stood already is no failure."""

import pytest

from omninode.core.events import CallFinished
from omninode.core.ids import uuid7
from omninode.monitoring.monitor import PerformanceMonitor

pytestmark = pytest.mark.unit


def ended(error_class: str | None) -> CallFinished:
    return CallFinished(
        run_id=uuid7(),
        role="voter",
        model="m",
        provider="p",
        deployment="d",
        ok=error_class is None,
        error_class=error_class,
        duration_ms=10.0,
    )


def test_a_stopped_call_counts_neither_as_a_call_nor_as_a_failure():
    monitor = PerformanceMonitor()
    for error_class in (None, "CancelledError", "CancelledError", "AttemptTimeoutError"):
        monitor.observe(ended(error_class))
    values = monitor.snapshot().values()
    assert values["call_count"] == 2
    assert values["call_error_rate"] == 0.5
