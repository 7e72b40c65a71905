"""The counts of the overhead scenario tell a breaker that keeps its word from one that does not."""

from __future__ import annotations

import pytest

from omninode.bench.stampede import leaked_permits, moved_states, stampede_hits
from omninode.resilience.circuit import CircuitBreakerConfig
from omninode.resilience.schedule import RetryConfig

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("probes", [1, 7])
def test_as_many_callers_reach_the_dead_target_as_there_are_probes(probes: int) -> None:
    assert stampede_hits(CircuitBreakerConfig(half_open_max_calls=probes)) == probes


def test_cancelled_callers_leave_no_place_taken_and_no_state_moved() -> None:
    config = CircuitBreakerConfig(failure_threshold=1)
    assert leaked_permits(config, RetryConfig()) == 0
    assert moved_states(config) == 0
