"""An attempt timeout that is found out, in virtual time."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omninode.core.errors import AttemptTimeoutError, DeadlineExceededError, InvalidArgumentError
from omninode.core.events import MetricRecorded
from omninode.resilience import AdaptiveTimeout, Policy
from omninode.testing.sink import RecordingSink
from omninode.testing.virtual_time import run_virtual

pytestmark = pytest.mark.unit


def learned(config, main, *, warm=50, took_s=0.1, **parts):
    """What `main(policy, clock)` returns, for a policy that has seen `warm` successes of `took_s` each."""

    async def run(clock):
        policy = Policy("p", attempt_timeout_s=config, clock=clock, **parts)
        for _ in range(warm):
            await policy.call(asyncio.sleep, took_s)
        return await main(policy, clock)

    return run_virtual(run)


async def lasted(policy, clock, seconds):
    """How long a call of so many seconds was let run."""
    began = clock.monotonic()
    with suppress(AttemptTimeoutError, DeadlineExceededError):
        await policy.call(asyncio.sleep, seconds)
    return clock.monotonic() - began


CONFIG = AdaptiveTimeout(at_most_s=10.0)


def test_the_limit_is_so_many_times_the_quantile_once_enough_is_known():
    async def main(policy, clock):
        return policy.statistics().attempt_timeout.seconds, await lasted(policy, clock, 60.0)

    assert learned(CONFIG, main, warm=49) == (10.0, pytest.approx(10.0, abs=0.02))
    assert learned(CONFIG, main, warm=50) == (pytest.approx(0.4), pytest.approx(0.4, abs=0.02))


def test_the_bounds_hold():
    async def main(policy, clock):
        return policy.statistics().attempt_timeout.seconds

    assert learned(CONFIG, main, took_s=0.001) == 0.1
    assert learned(CONFIG, main, took_s=9.0) == 10.0


def test_attempts_that_are_cut_off_together_double_the_limit_once_and_a_success_takes_it_back():
    async def main(policy, clock):
        await asyncio.gather(*[lasted(policy, clock, 60.0) for _ in range(20)])
        doubled = policy.statistics().attempt_timeout.seconds
        await lasted(policy, clock, 60.0)
        again = policy.statistics().attempt_timeout.seconds
        await policy.call(asyncio.sleep, 0.1)
        return doubled, again, policy.statistics().attempt_timeout

    doubled, again, after = learned(CONFIG, main)
    assert (doubled, again) == (pytest.approx(0.8), pytest.approx(1.6))
    assert (after.seconds, after.timed_out) == (pytest.approx(0.4), 21)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.01, 9.0), st.floats(0.01, 9.0))
def test_whatever_the_new_latency_is_within_the_bounds_it_is_found(before_s, after_s):
    async def main(policy, clock):
        return [await lasted(policy, clock, after_s) for _ in range(400)]

    times = learned(CONFIG, main, took_s=before_s)
    assert times[-1] == pytest.approx(after_s, abs=0.02)


def test_a_deadline_bounds_the_limit_and_a_late_attempt_is_not_taken_for_a_cut_by_it():
    async def main(policy, clock):
        at_first = policy.statistics().attempt_timeout.seconds
        return at_first, await lasted(policy, clock, 60.0)

    at_first, took_s = learned(AdaptiveTimeout(at_most_s=10.0, at_least_s=5.0), main, warm=0, deadline_s=2.0)
    assert (at_first, took_s) == (2.0, pytest.approx(2.0, abs=0.02))


def test_the_limit_is_told_when_it_moves_far():
    sink = RecordingSink()

    async def main(policy, clock):
        for _ in range(50):
            await policy.call(asyncio.sleep, 0.1)

    learned(CONFIG, main, sink=sink)
    told = [event.value for event in sink.of(MetricRecorded) if event.metric == "attempt_timeout_ms"]
    assert told == [pytest.approx(400.0, abs=1.0)]


def test_an_adaptive_limit_explains_itself_and_is_not_for_streams():
    async def items():
        yield 1

    policy = Policy("p", attempt_timeout_s=CONFIG)
    assert "attempt timeout: 4 x the 0.99 quantile of successes, 0.1 to 10 s, now 10 s" in policy.explain()
    with pytest.raises(InvalidArgumentError, match="adaptive timeout"):
        policy.stream(items)
    with pytest.raises(InvalidArgumentError, match="plain function"):
        policy.call_blocking(len, ())


@pytest.mark.parametrize(
    "wrong",
    [
        {"quantile": 0.4},
        {"factor": 0.5},
        {"at_least_s": 2.0, "at_most_s": 1.0},
        {"at_most_s": float("inf")},
        {"min_samples": 0},
        {"min_samples": 301},
    ],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(InvalidArgumentError):
        AdaptiveTimeout(**wrong)
