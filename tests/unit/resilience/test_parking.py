"""Calls that wait for a breaker, and calls that do not."""

from __future__ import annotations

import asyncio

import pytest

from omninode.core import current
from omninode.core.errors import AttemptTimeoutError, BreakerOpenError, InvalidArgumentError
from omninode.core.events import MetricRecorded
from omninode.resilience import CircuitBreakerConfig, Park, Policy, RetryConfig

pytestmark = pytest.mark.unit

BREAKER = CircuitBreakerConfig(failure_threshold=1, success_threshold=1, timeout_seconds=4.0, jitter=0.0)


def policy_with(clock, **changes):
    return Policy("p", **({"deadline_s": 15.0, "breaker": BREAKER, "park": Park(), "clock": clock} | changes))


async def answer():
    return "answer"


async def test_a_call_that_meets_an_open_breaker_waits_for_it_to_reopen(quick_clock, sink):
    policy = policy_with(quick_clock, sink=sink)
    policy.breaker.open()
    assert await policy.call(answer) == "answer"
    (waited,) = quick_clock.slept
    assert 4.05 <= waited <= 4.5
    parking = policy.statistics().parking
    assert (parking.parked, parking.waits, parking.refused) == (0, 1, 0)
    assert [event.value for event in sink.of(MetricRecorded)] == [pytest.approx(waited * 1000)]
    assert policy.statistics().retry.calls == policy.statistics().retry.attempts == 1


@pytest.mark.parametrize("deadline_s", [4.2, None])
async def test_without_the_time_it_fails_at_once_and_says_when_to_come_back(quick_clock, deadline_s):
    policy = policy_with(quick_clock, deadline_s=deadline_s)
    policy.breaker.open()
    with pytest.raises(BreakerOpenError) as caught:
        await policy.call(answer)
    assert caught.value.retry_after_s == pytest.approx(4.0)
    assert (quick_clock.slept, policy.statistics().parking.refused) == ([], 1)


async def test_nobody_waits_for_an_isolated_breaker(quick_clock):
    policy = policy_with(quick_clock)
    policy.breaker.isolate()
    with pytest.raises(BreakerOpenError):
        await policy.call(answer)
    assert quick_clock.slept == []


async def test_only_so_many_are_parked(clock):
    policy = policy_with(clock, park=Park(max_calls=2))
    policy.breaker.open()
    tasks = [asyncio.ensure_future(policy.call(answer)) for _ in range(3)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [task.done() for task in tasks] == [False, False, True]
    assert isinstance(tasks[2].exception(), BreakerOpenError)
    clock.advance(5.0)
    assert [await task for task in tasks[:2]] == ["answer"] * 2


async def test_a_parked_call_that_is_cancelled_leaves_its_place(clock):
    policy = policy_with(clock)
    policy.breaker.open()
    task = asyncio.ensure_future(policy.call(answer))
    await asyncio.sleep(0)
    assert policy.statistics().parking.parked == 1
    task.cancel()
    await asyncio.wait([task])
    assert (task.cancelled(), policy.statistics().parking.parked) == (True, 0)
    assert current.scope().deadline is None


async def test_waiting_uses_up_no_retries(quick_clock):
    policy = policy_with(quick_clock, deadline_s=60.0, retry=RetryConfig(max_retries=2, base_delay=0.0))
    ends = iter([ConnectionError("opens it"), ConnectionError("opens it again"), "answer"])

    async def flaky():
        end = next(ends)
        if isinstance(end, Exception):
            raise end
        return end

    assert await policy.call(flaky) == "answer"
    assert policy.statistics().retry.attempts == 3


async def test_after_timeouts_the_calls_are_let_go_at_a_pace(clock):
    policy = policy_with(clock, breaker=CircuitBreakerConfig(failure_threshold=1000, timeout_seconds=1.0, jitter=0.0))

    async def slow():
        raise AttemptTimeoutError("slow")

    for _ in range(30):
        with pytest.raises(AttemptTimeoutError):
            await policy.call(slow)
    assert policy.statistics().parking.is_paced
    policy.breaker.open()
    ran = []

    async def work():
        ran.append(clock.monotonic())

    tasks = [asyncio.ensure_future(policy.call(work)) for _ in range(40)]
    await asyncio.sleep(0)
    policy.breaker.close()
    clock.advance(2.0)
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(ran) == 3
    for _ in range(200):
        clock.advance(0.3)
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert len(ran) == 40


def test_parking_without_a_breaker_is_a_mistake():
    with pytest.raises(InvalidArgumentError, match="park works on a breaker"):
        Policy("p", park=Park())
    with pytest.raises(InvalidArgumentError, match="max_calls"):
        Park(max_calls=0)
