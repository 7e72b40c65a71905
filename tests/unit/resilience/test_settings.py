"""The settings of the parts: their defaults, which the docs state, and the bounds of what each takes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from omninode.core.errors import InvalidArgumentError
from omninode.resilience import (
    BudgetConfig,
    BulkheadConfig,
    CircuitBreakerConfig,
    Consecutive,
    Park,
    RetryBudget,
    Sequential,
)

pytestmark = pytest.mark.unit

TINY, INF = 5e-324, math.inf
# What is the least and the most that is taken, and what is next to it on the wrong side (None: there is no bound).
BOUNDS = [
    (BudgetConfig, "size", None, (1e9, 1.000000001e9)),
    (BudgetConfig, "start", (0.0, -TINY), (20.0, 20.001)),
    (BudgetConfig, "ratio", (0.0, -TINY), (1e6, 1.000001e6)),
    (BudgetConfig, "cost", (0.0, -TINY), (20.0, 20.001)),
    (BudgetConfig, "slow_cost", (0.0, -TINY), (20.0, 20.001)),
    (BulkheadConfig, "max_concurrent", (1, 0), None),
    (BulkheadConfig, "max_queue", (0, -1), None),
    (BulkheadConfig, "queue_timeout_s", (TINY, 0.0), (1e300, INF)),
    (CircuitBreakerConfig, "failure_threshold", (1, 0), None),
    (CircuitBreakerConfig, "timeout_seconds", (TINY, 0.0), (1e300, INF)),
    (CircuitBreakerConfig, "success_threshold", (1, 0), None),
    (CircuitBreakerConfig, "half_open_max_calls", (1, 0), None),
    (CircuitBreakerConfig, "break_growth", (1.0, 0.999), (100.0, 100.001)),
    (CircuitBreakerConfig, "jitter", (0.0, -TINY), (1.0, 1.001)),
    (CircuitBreakerConfig, "max_break_seconds", (30.0, 29.999), (1e300, INF)),
    (Consecutive, "threshold", (1, 0), None),
    (Park, "max_calls", (1, 0), None),
    (Park, "margin_s", (0.0, -TINY), (1e300, INF)),
    (Sequential, "p0", (TINY, 0.0), (0.9499, 0.95)),
    (Sequential, "p1", (0.5001, 0.5), (0.9999, 1.0)),
    (Sequential, "sudden_trip_calls", (1.0, 0.999), (22_026.0, 22_026.1)),
    (Sequential, "false_trip_calls", (2.0, 1.999), (1e300, 1.001e300)),
]


@pytest.mark.parametrize(("make", "name", "low", "high"), BOUNDS)
def test_a_setting_is_taken_up_to_its_bounds_and_named_beyond(make, name, low, high):
    for fits, beyond in filter(None, (low, high)):
        assert getattr(make(**{name: fits}), name) == fits
        with pytest.raises(InvalidArgumentError, match=name):
            make(**{name: beyond})
    with pytest.raises(InvalidArgumentError, match=name):
        make(**{name: "many"})


def test_a_bucket_of_one_token_is_the_smallest():
    least = {"start": 1.0, "cost": 1.0, "slow_cost": 1.0}
    assert BudgetConfig(size=1.0, **least).size == 1.0
    for size in (0.999, 0.0):
        with pytest.raises(InvalidArgumentError, match="size"):
            BudgetConfig(size=size, start=0.0, cost=0.0, slow_cost=0.0)


def test_a_longest_break_has_to_be_a_length_of_time():
    with pytest.raises(InvalidArgumentError, match="max_break_seconds"):
        CircuitBreakerConfig(max_break_seconds=math.nan)


def test_the_defaults_are_those_the_docs_state():
    breaker = CircuitBreakerConfig()
    assert (breaker.failure_threshold, breaker.timeout_seconds, breaker.success_threshold) == (5, 30.0, 2)
    assert (breaker.half_open_max_calls, breaker.break_growth, breaker.jitter) == (1, 1.0, 0.1)
    assert (breaker.probe_ramp, breaker.detector, breaker.closing, breaker.max_break_seconds) == (
        False,
        None,
        None,
        None,
    )
    assert Consecutive().threshold == 5
    assert (Sequential().p0, Sequential().p1, Sequential().false_trip_calls) == (0.5, 0.95, 22_026.0)
    budget = BudgetConfig()
    assert (budget.size, budget.start, budget.ratio, budget.cost, budget.slow_cost) == (20.0, 10.0, 1.0, 1.0, 10.0)
    bulkhead = BulkheadConfig()
    assert (bulkhead.max_concurrent, bulkhead.max_queue, bulkhead.queue_timeout_s) == (10, 100, None)
    assert (Park().max_calls, Park().margin_s) == (500, 0.3)
    assert RetryBudget().config == budget


def test_the_recommended_breaker_is_what_its_docs_say():
    config = CircuitBreakerConfig.sequential()
    assert (config.timeout_seconds, config.break_growth, config.max_break_seconds) == (0.6, 1.5, 2.4)
    assert (config.jitter, config.probe_ramp, config.detector) == (1 / 3, True, Sequential(sudden_trip_calls=80.0))
    assert config.closing == Sequential()
    other = CircuitBreakerConfig.sequential(p0=0.3, p1=0.9, false_trip_calls=1000.0)
    assert other.closing == Sequential(p0=0.3, p1=0.9, false_trip_calls=1000.0)
    assert other.detector == replace(other.closing, sudden_trip_calls=80.0)
    assert CircuitBreakerConfig.sequential(false_trip_calls=20.0).detector.sudden_trip_calls == 20.0


def test_a_break_grows_to_its_bound_and_never_overflows():
    grows = CircuitBreakerConfig(timeout_seconds=2.0, break_growth=2.0)
    assert [grows.longest_break_s(openings) for openings in (-1, 0, 1, 2, 3, 4, 5)] == [2, 2, 2, 4, 8, 16, 20]
    assert CircuitBreakerConfig(timeout_seconds=7.0).longest_break_s(10**9) == 7.0
    wide = CircuitBreakerConfig(timeout_seconds=1e-300, break_growth=100.0, max_break_seconds=1e300)
    assert wide.longest_break_s(10**9) == pytest.approx(1e-180, rel=1e-6, abs=0.0)
