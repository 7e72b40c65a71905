"""Time that stands still, and a sink that remembers."""

from __future__ import annotations

import pytest

from omninode.testing.clock import FakeClock
from omninode.testing.sink import RecordingSink


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def quick_clock() -> FakeClock:
    """Sleeps return at once and move the clock."""
    return FakeClock(auto_advance=True)


@pytest.fixture
def sink() -> RecordingSink:
    return RecordingSink()
