"""The detectors that look at shares, and the recommended breaker as a whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omninode.core import current
from omninode.core.deadline import Deadline
from omninode.core.errors import BreakerOpenError, InvalidArgumentError
from omninode.resilience import (
    AnyOf,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitState,
    Consecutive,
    FailureRate,
    Outcome,
    Policy,
    SlowCallRate,
)
from omninode.resilience.window import CountWindow, TimeWindow
from omninode.testing.clock import FakeClock

pytestmark = pytest.mark.unit


def breaker_with(clock, detector):
    return CircuitBreaker("b", CircuitBreakerConfig(detector=detector, timeout_seconds=10.0, jitter=0.0), clock=clock)


def end(breaker, outcome, times=1):
    for _ in range(times):
        breaker.admit().release(outcome)


def test_a_failure_rate_trips_at_its_share_and_not_below(clock):
    breaker = breaker_with(clock, FailureRate(share=0.5, calls=10, min_calls=10))
    end(breaker, Outcome.SUCCESS, 6)
    end(breaker, Outcome.TRANSIENT, 4)
    assert breaker.state is CircuitState.CLOSED
    end(breaker, Outcome.TRANSIENT)
    assert breaker.state is CircuitState.OPEN
    assert "5 of the latest 10 calls failed" in breaker.statistics().reason


def test_few_calls_are_no_rate(clock):
    breaker = breaker_with(clock, FailureRate(share=0.5, seconds=30.0, min_calls=20))
    end(breaker, Outcome.TRANSIENT, 19)
    assert breaker.state is CircuitState.CLOSED
    end(breaker, Outcome.TRANSIENT)
    assert breaker.state is CircuitState.OPEN


def test_failures_of_long_ago_do_not_count_in_a_time_window(clock):
    breaker = breaker_with(clock, FailureRate(share=0.5, seconds=10.0, min_calls=2))
    end(breaker, Outcome.TRANSIENT)
    clock.advance(11.0)
    end(breaker, Outcome.SUCCESS, 2)
    end(breaker, Outcome.TRANSIENT)
    assert breaker.state is CircuitState.CLOSED


def test_a_breaker_that_closed_starts_with_an_empty_window(clock):
    breaker = breaker_with(clock, FailureRate(share=0.5, calls=4, min_calls=4))
    end(breaker, Outcome.TRANSIENT, 4)
    breaker.close()
    end(breaker, Outcome.TRANSIENT, 3)
    assert breaker.state is CircuitState.CLOSED


def test_slow_calls_trip_however_they_end(clock):
    breaker = breaker_with(clock, SlowCallRate(slower_than_s=2.0, share=0.5, calls=4, min_calls=4))
    for took_s, outcome in [(3.0, Outcome.SUCCESS), (1.0, Outcome.SUCCESS), (1.0, Outcome.TRANSIENT)]:
        permit = breaker.admit()
        clock.advance(took_s)
        permit.release(outcome)
    assert breaker.state is CircuitState.CLOSED
    permit = breaker.admit()
    clock.advance(3.0)
    permit.release(Outcome.SUCCESS)
    assert breaker.state is CircuitState.OPEN
    assert "2 of the latest 4 calls took longer than 2 s" in breaker.statistics().reason


async def test_a_policy_times_its_calls_where_the_detector_asks(clock):
    config = CircuitBreakerConfig(detector=SlowCallRate(slower_than_s=2.0, calls=2, min_calls=2))
    policy = Policy("p", breaker=config, clock=clock)

    async def slow():
        clock.advance(3.0)

    for _ in range(2):
        await policy.call(slow)
    with pytest.raises(BreakerOpenError, match="took longer"):
        await policy.call(slow)


def test_any_of_several_trips_and_says_which(clock):
    breaker = breaker_with(clock, AnyOf(Consecutive(3), SlowCallRate(slower_than_s=1.0, calls=10, min_calls=2)))
    end(breaker, Outcome.TRANSIENT, 3)
    assert "3 failures in a row" in breaker.statistics().reason
    breaker.close()
    for _ in range(2):
        permit = breaker.admit()
        clock.advance(1.5)
        permit.release(Outcome.SUCCESS)
    assert "took longer" in breaker.statistics().reason


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: FailureRate(share=0, calls=30), "share"),
        (lambda: FailureRate(share=1.5, calls=30), "share"),
        (FailureRate, "exactly one"),
        (lambda: FailureRate(calls=30, seconds=1.0), "exactly one"),
        (lambda: FailureRate(calls=5, min_calls=6), "calls"),
        (lambda: FailureRate(seconds=-1.0), "seconds"),
        (lambda: SlowCallRate(slower_than_s=0, calls=30), "slower_than_s"),
        (AnyOf, "at least one"),
    ],
)
def test_a_setting_out_of_range_is_named(make, name):
    with pytest.raises(InvalidArgumentError, match=name):
        make()


@given(size=st.integers(1, 20), ends=st.lists(st.booleans(), max_size=60))
def test_a_count_window_holds_the_last_calls(size, ends):
    window = CountWindow(size)
    for is_bad in ends:
        window.add(is_bad=is_bad)
    last = ends[-size:]
    assert (window.total, window.bad) == (len(last), sum(last))


@given(steps=st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0, 3.0, 20.0]), st.booleans()), max_size=40))
def test_a_time_window_holds_its_seconds_to_a_tenth(steps):
    clock = FakeClock(start=0.0)
    window, seen = TimeWindow(10.0, clock), []
    for wait_s, is_bad in steps:
        clock.advance(wait_s)
        window.add(is_bad=is_bad)
        seen.append((clock.monotonic(), is_bad))
        first = int(clock.monotonic()) - 9
        kept = [bad for at, bad in seen if int(at) >= first]
        assert (window.total, window.bad) == (len(kept), sum(kept))


# The recommended breaker


def recommended(clock, seed=1):
    return CircuitBreaker("b", CircuitBreakerConfig.sequential(), clock=clock, seed=seed)


def test_its_breaks_begin_short_and_grow_by_half(clock):
    breaker, lengths = recommended(clock), []
    end(breaker, Outcome.TRANSIENT, 7)
    for _ in range(6):
        lengths.append(breaker.retry_after_s)
        clock.advance(breaker.retry_after_s)
        end(breaker, Outcome.TRANSIENT)
    for place, length in enumerate(lengths):
        middle = min(2.0, 0.5 * 1.5**place)
        assert 0.8 * middle <= length <= 1.2 * middle


def failures_to_open(breaker) -> int:
    times = 0
    while breaker.state is CircuitState.CLOSED:
        end(breaker, Outcome.TRANSIENT)
        times += 1
    return times


def reopened(breaker, clock):
    """`breaker`, closed again after a break and two good probes."""
    clock.advance(breaker.retry_after_s)
    end(breaker, Outcome.SUCCESS, 2)
    assert breaker.state is CircuitState.CLOSED
    return breaker


def test_seven_failures_open_it_after_a_calm_stretch_and_sixteen_after_trouble(clock):
    breaker = recommended(clock)
    assert failures_to_open(breaker) == 7
    assert failures_to_open(reopened(breaker, clock)) == 16
    end(reopened(breaker, clock), Outcome.SUCCESS, 50)
    assert failures_to_open(breaker) == 7


def test_failures_mixed_with_successes_use_up_the_one_chance_to_open_early(clock):
    breaker = recommended(clock)
    end(breaker, Outcome.TRANSIENT, 6)
    end(breaker, Outcome.SUCCESS, 40)
    assert failures_to_open(breaker) == 16


def test_its_breaks_are_short_again_once_probes_have_closed_it(clock):
    breaker = recommended(clock)
    end(breaker, Outcome.TRANSIENT, 7)
    for _ in range(6):
        clock.advance(breaker.retry_after_s)
        end(breaker, Outcome.TRANSIENT)
    assert breaker.retry_after_s > 1.5
    failures_to_open(reopened(breaker, clock))
    assert breaker.retry_after_s <= 0.9


def test_its_breaks_are_no_longer_than_half_of_what_callers_can_wait(clock):
    breaker = recommended(clock)
    end(breaker, Outcome.TRANSIENT, 7)
    lengths = []
    for _ in range(6):
        with current.entered(deadline=Deadline.after(3.0, clock=clock)), pytest.raises(BreakerOpenError):
            breaker.admit()
        clock.advance(breaker.retry_after_s)
        end(breaker, Outcome.TRANSIENT)
        lengths.append(breaker.retry_after_s)
    assert max(lengths) <= 1.5
    clock.advance(breaker.retry_after_s)
    end(breaker, Outcome.TRANSIENT)
    assert breaker.retry_after_s > 1.5


def test_its_probes_ramp_with_each_success(clock):
    breaker = CircuitBreaker("b", CircuitBreakerConfig(probe_ramp=True, success_threshold=9, jitter=0.0), clock=clock)
    breaker.open()
    clock.advance(30.0)
    admitted = []
    for _ in range(3):
        permits = []
        while True:
            try:
                permits.append(breaker.admit())
            except BreakerOpenError:
                break
        admitted.append(len(permits))
        permits[0].release(Outcome.SUCCESS)
        for permit in permits[1:]:
            permit.release(Outcome.NEUTRAL)
    assert admitted == [1, 2, 3]


def test_it_reopens_on_a_first_failure_and_not_on_one_after_a_success(clock):
    breaker = recommended(clock)
    breaker.open()
    clock.advance(5.0)
    end(breaker, Outcome.TRANSIENT)
    assert breaker.state is CircuitState.OPEN
    clock.advance(5.0)
    end(breaker, Outcome.SUCCESS)
    end(breaker, Outcome.TRANSIENT)
    assert breaker.state is CircuitState.HALF_OPEN
    end(breaker, Outcome.SUCCESS, 2)
    assert breaker.state is CircuitState.CLOSED


def test_two_successes_close_it(clock):
    breaker = recommended(clock)
    breaker.open()
    clock.advance(5.0)
    end(breaker, Outcome.SUCCESS)
    assert breaker.state is CircuitState.HALF_OPEN
    end(breaker, Outcome.SUCCESS)
    assert breaker.state is CircuitState.CLOSED
