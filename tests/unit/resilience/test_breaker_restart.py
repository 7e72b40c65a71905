"""What of a breaker outlives its process."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from omninode.resilience import CircuitBreaker, CircuitBreakerConfig, CircuitState, Outcome

pytestmark = pytest.mark.unit

CONFIG = CircuitBreakerConfig(failure_threshold=3, timeout_seconds=10.0, success_threshold=2, jitter=0.0)


def restored(snapshot, clock, config=CONFIG):
    breaker = CircuitBreaker("b", config, clock=clock)
    breaker.restore(snapshot)
    return breaker


def test_only_an_open_breaker_tells_when_it_reopens(clock):
    breaker = CircuitBreaker("b", CONFIG, clock=clock)
    closed = breaker.snapshot()
    assert (closed.state, closed.opened_at, closed.reopen_at) == (CircuitState.CLOSED, None, None)
    breaker.open()
    opened_at = clock.now()
    clock.advance(4.0)
    opened = breaker.snapshot()
    assert (opened.opened_at, opened.reopen_at) == (opened_at, clock.now() + timedelta(seconds=6.0))
    assert not opened.is_second_hand
    clock.advance(16.0)
    assert breaker.snapshot().reopen_at == clock.now()
    breaker.admit()
    probing = breaker.snapshot()
    assert (probing.state, probing.opened_at, probing.reopen_at) == (CircuitState.HALF_OPEN, opened_at, None)
    breaker.isolate()
    assert breaker.snapshot().reopen_at is None


def test_a_break_that_ended_meanwhile_is_over_at_once(clock):
    breaker = CircuitBreaker("b", CONFIG, clock=clock)
    breaker.open()
    kept = breaker.snapshot()
    clock.advance(12.0)
    after = restored(kept, clock)
    assert after.retry_after_s == 0.0
    assert after.snapshot().opened_at == kept.opened_at != clock.now()


def test_a_half_open_one_probes_at_once_whatever_moment_was_kept_with_it(clock):
    breaker = CircuitBreaker("b", CONFIG, clock=clock)
    breaker.open()
    kept = replace(breaker.snapshot(), state=CircuitState.HALF_OPEN)
    assert restored(kept, clock).retry_after_s == 0.0


def test_what_is_left_of_a_break_is_bounded_by_the_longest_this_breaker_makes(clock):
    slow = CircuitBreakerConfig(timeout_seconds=10.0, break_growth=1.01, max_break_seconds=1000.0, jitter=0.0)
    breaker = CircuitBreaker("b", slow, clock=clock)
    breaker.open()
    kept = replace(breaker.snapshot(), reopen_at=clock.now() + timedelta(days=1))
    assert restored(kept, clock, slow).retry_after_s == pytest.approx(10.0 * 1.01**60)


def test_what_was_counted_goes_on_being_counted(clock):
    breaker = CircuitBreaker("b", CONFIG, clock=clock)
    breaker.admit().release(Outcome.SUCCESS)
    breaker.admit().release(Outcome.TIMEOUT)
    after = restored(breaker.snapshot(), clock)
    after.admit().release(Outcome.TIMEOUT)
    assert (after.statistics().successes, after.statistics().failures, after.state) == (1, 2, CircuitState.CLOSED)


def test_a_restored_break_ends_when_the_clock_goes_back_and_an_isolation_does_not(clock):
    breaker = CircuitBreaker("b", CONFIG, clock=clock)
    breaker.open()
    opened = restored(breaker.snapshot(), clock)
    breaker.isolate()
    isolated = restored(breaker.snapshot(), clock)
    assert opened.retry_after_s == 10.0
    clock.advance(-3600.0)
    assert (opened.retry_after_s, isolated.retry_after_s) == (0.0, None)


def test_a_break_whose_beginning_was_not_kept_begins_now(clock):
    breaker = CircuitBreaker("b", CONFIG, clock=clock)
    breaker.open()
    kept = replace(breaker.snapshot(), opened_at=None)
    assert restored(kept, clock).snapshot().opened_at == clock.now()
