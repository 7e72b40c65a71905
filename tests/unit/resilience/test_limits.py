"""Sending less: a rate, an adaptive limit, a throttle; and telling early; and trouble on purpose."""

from __future__ import annotations

import asyncio

import pytest

from omninode.core import current
from omninode.core.deadline import Deadline
from omninode.core.errors import AttemptTimeoutError, InvalidArgumentError, RateLimitedError, ThrottledError
from omninode.resilience import (
    Adaptive,
    Bulkhead,
    BulkheadConfig,
    ChaosConfig,
    CircuitBreakerConfig,
    CircuitState,
    Gradient2,
    Policy,
    Rate,
    RetryConfig,
    SoftTimeout,
    Throttle,
)
from omninode.resilience.limiter import AdaptiveLimit
from omninode.resilience.rate import RateLimit
from omninode.simulation.virtual_time import VirtualClock, run_virtual

pytestmark = pytest.mark.unit


async def answer():
    return "answer"


async def throttled():
    raise ThrottledError("busy", status=429)


# A rate


async def test_a_burst_goes_at_once_and_the_rest_evenly(clock):
    limit = RateLimit("r", Rate(per_second=2.0, burst=3), clock=clock)
    tasks = [asyncio.ensure_future(limit.call(answer)) for _ in range(6)]
    for _ in range(3):
        await asyncio.sleep(0)
    assert sum(task.done() for task in tasks) == 3
    assert clock.slept == pytest.approx([0.5, 1.0, 1.5])
    clock.advance(2.0)
    await asyncio.gather(*tasks)
    assert (limit.statistics().admitted, limit.statistics().delayed) == (6, 3)


async def test_an_idle_time_earns_no_more_than_the_burst(clock):
    limit = RateLimit("r", Rate(per_second=1.0, burst=2, max_wait_s=0.0), clock=clock)
    clock.advance(1000.0)
    await limit.acquire()
    await limit.acquire()
    with pytest.raises(RateLimitedError) as caught:
        await limit.acquire()
    assert caught.value.retry_after_s == pytest.approx(1.0)
    clock.advance(1.0)
    await limit.acquire()


async def test_a_wait_beyond_the_deadline_fails_at_once(clock):
    limit = RateLimit("r", Rate(per_second=0.1), clock=clock)
    await limit.acquire()
    with current.entered(deadline=Deadline.after(5.0, clock=clock)), pytest.raises(RateLimitedError):
        await limit.acquire()
    assert clock.slept == []


async def test_a_policy_keeps_every_attempt_within_its_rate(quick_clock):
    policy = Policy("p", rate=Rate(per_second=1.0), retry=RetryConfig(max_retries=2, base_delay=0.0), clock=quick_clock)
    with pytest.raises(ThrottledError):
        await policy.call(throttled)
    assert policy.statistics().rate.delayed == 2


# An adaptive limit


async def test_a_limit_grows_only_while_it_is_used_and_shrinks_when_throttled(clock):
    limit = AdaptiveLimit("l", Adaptive(start=4, min_limit=2, max_limit=10), clock=clock)
    await limit.call(answer)
    assert limit.limit == 4.0
    together = asyncio.Barrier(4)
    await asyncio.gather(*[limit.call(together.wait) for _ in range(4)])
    assert 4.25 <= limit.limit < 5.0
    before = limit.limit
    for _ in range(5):
        with pytest.raises(ThrottledError):
            await limit.call(throttled)
    assert limit.limit == pytest.approx(before * 0.8)
    for _ in range(20):
        clock.advance(1.0)
        with pytest.raises(ThrottledError):
            await limit.call(throttled)
    assert limit.limit == 2.0
    assert limit.statistics().running == 0


async def test_a_gradient_shrinks_when_latency_rises_and_recovers(clock):
    limit = AdaptiveLimit("g", Adaptive(start=20, rule=Gradient2()), clock=clock)

    async def round_of(took_s):
        together = asyncio.Barrier(12)

        async def work():
            if await together.wait() == 0:
                clock.advance(took_s)
            await asyncio.sleep(0)

        await asyncio.gather(*[limit.call(work) for _ in range(12)])

    for _ in range(3):
        await round_of(0.1)
    healthy = limit.limit
    assert healthy >= 20
    for _ in range(4):
        await round_of(1.0)
    assert limit.limit < healthy


async def test_a_sample_of_the_answer_stands_for_its_time(clock):
    seen = []

    def first_token(value, took_s):
        seen.append((value, took_s))
        raise ValueError("a sample that fails teaches nothing")

    limit = AdaptiveLimit("g", Adaptive(rule=Gradient2(), sample=first_token), clock=clock)
    assert await limit.call(answer) == "answer"
    assert seen == [("answer", 0.0)]
    assert limit.limit == 20.0


async def test_a_bulkhead_made_smaller_keeps_whom_it_has_and_made_larger_lets_waiters_in():
    bulkhead = Bulkhead("b", BulkheadConfig(max_concurrent=2))
    await bulkhead.acquire()
    await bulkhead.acquire()
    bulkhead.resize(1)
    waiter = asyncio.ensure_future(bulkhead.acquire())
    await asyncio.sleep(0)
    bulkhead.release()
    await asyncio.sleep(0)
    assert (waiter.done(), bulkhead.statistics().running) == (False, 1)
    bulkhead.resize(2)
    await waiter
    assert bulkhead.statistics().running == 2


# A throttle


async def test_a_throttle_refuses_in_proportion_and_stops_after_its_window(clock):
    policy = Policy("p", throttle=Throttle(seconds=60.0), clock=clock)
    refused = 0
    for _ in range(300):
        try:
            await policy.call(throttled)
        except RateLimitedError:
            refused += 1
        except ThrottledError:
            pass
    assert 150 < refused < 290
    assert policy.statistics().throttle.refused == refused
    clock.advance(100.0)
    while True:
        try:
            assert await policy.call(answer) == "answer"
            break
        except RateLimitedError:
            clock.advance(100.0)


async def test_a_throttle_lets_everything_through_while_all_is_well(clock):
    policy = Policy("p", throttle=Throttle(), clock=clock)
    for _ in range(200):
        await policy.call(answer)
    assert policy.statistics().throttle.refused == 0


# Telling early


async def test_a_call_that_hangs_reaches_the_breaker_long_before_it_ends():
    policy = Policy(
        "p", breaker=CircuitBreakerConfig(failure_threshold=3), soft_timeout=SoftTimeout(min_samples=5, at_least_s=0.01)
    )
    for _ in range(5):
        await policy.call(answer)
    tasks = [asyncio.ensure_future(policy.call(asyncio.sleep, 60)) for _ in range(3)]
    while policy.breaker.state is CircuitState.CLOSED:
        await asyncio.sleep(0.005)
    assert not any(task.done() for task in tasks)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    statistics = policy.statistics()
    assert statistics.soft_timeout.reported == 3
    assert (statistics.breaker.failures, statistics.breaker.openings) == (3, 1)


async def test_a_reported_call_that_succeeds_counts_as_a_success_too_and_one_that_fails_not_twice():
    policy = Policy("p", breaker=CircuitBreakerConfig(), soft_timeout=SoftTimeout(min_samples=5, at_least_s=0.001))
    for _ in range(5):
        await policy.call(answer)

    async def late(error=None):
        while policy.statistics().soft_timeout.reported < expected:
            await asyncio.sleep(0.001)
        if error:
            raise error

    expected = 1
    await policy.call(late)
    assert (policy.statistics().breaker.successes, policy.statistics().breaker.failures) == (6, 1)
    expected = 2
    with pytest.raises(ConnectionError):
        await policy.call(late, ConnectionError("late"))
    assert (policy.statistics().breaker.successes, policy.statistics().breaker.failures) == (6, 2)


# Trouble on purpose


async def test_chaos_repeats_with_its_seed_and_keeps_its_shares(quick_clock):
    async def history():
        policy = Policy("p", chaos=ChaosConfig(errors=0.3, delays=0.2, delay_s=2.0, seed=7), clock=quick_clock)
        told = []
        for _ in range(200):
            before = quick_clock.monotonic()
            try:
                await policy.call(answer)
                told.append("late" if quick_clock.monotonic() > before else "ok")
            except ConnectionError:
                told.append("error")
        assert policy.statistics().chaos.injected == 200 - told.count("ok")
        return told

    told = await history()
    assert told == await history()
    assert 40 < told.count("error") < 80
    assert 20 < told.count("late") < 60


async def test_chaos_hangs_until_the_attempt_times_out_and_can_be_switched_off():
    on = True
    policy = Policy("p", attempt_timeout_s=0.01, chaos=ChaosConfig(hangs=1.0, is_enabled=lambda: on))
    with pytest.raises(AttemptTimeoutError):
        await policy.call(answer)
    on = False
    assert await policy.call(answer) == "answer"


async def test_a_switch_of_chaos_that_fails_makes_no_trouble_and_is_logged_once(caplog):
    policy = Policy("p", chaos=ChaosConfig(errors=1.0, is_enabled=lambda: {}["drill"]))
    for _ in range(3):
        assert await policy.call(answer) == "answer"
    assert [record.message.startswith("the switch of a chaos part failed") for record in caplog.records] == [True]
    assert policy.statistics().chaos.attempts == 0


def test_a_process_that_was_busy_does_not_call_its_target_slow():
    async def scene(clock: VirtualClock) -> tuple[int, int]:
        policy = Policy("p", breaker=CircuitBreakerConfig(), soft_timeout=SoftTimeout(min_samples=5), clock=clock)
        for _ in range(5):
            await policy.call(asyncio.sleep, 0.1)
        loop = asyncio.get_running_loop()
        # For two seconds nothing but this runs: the answer has long come when the alarm and the answer are looked at.
        loop.call_later(0.05, lambda: setattr(loop._jumping, "now", loop.time() + 2.0))
        await policy.call(asyncio.sleep, 0.1)
        after_a_busy_time = policy.statistics().soft_timeout.reported
        await policy.call(asyncio.sleep, 60.0)
        return after_a_busy_time, policy.statistics().soft_timeout.reported

    assert run_virtual(scene) == (0, 1)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: Rate(per_second=0), "per_second"),
        (lambda: Rate(per_second=1, burst=0), "burst"),
        (lambda: Adaptive(start=300), "start"),
        (lambda: Adaptive(min_limit=0), "min_limit"),
        (lambda: Throttle(factor=0.5), "factor"),
        (lambda: SoftTimeout(times=0.5), "times"),
        (lambda: ChaosConfig(errors=0.8, hangs=0.8), "more than 1"),
        (lambda: RetryConfig(jitter="wild"), "jitter"),
        (lambda: Policy("p", soft_timeout=SoftTimeout()), "soft_timeout works on a breaker"),
    ],
)
def test_a_setting_out_of_range_is_named(make, name):
    with pytest.raises(InvalidArgumentError, match=name):
        make()


async def test_decorrelated_waits_grow_from_the_last_one(quick_clock):
    config = RetryConfig(max_retries=50, base_delay=0.1, max_delay=5.0, jitter="decorrelated")
    with pytest.raises(ThrottledError):
        await Policy("p", retry=config, clock=quick_clock).call(throttled)
    for before, wait in zip([0.1, *quick_clock.slept], quick_clock.slept, strict=False):
        assert 0.1 <= wait <= min(5.0, 3 * before) + 1e-9
    assert max(quick_clock.slept) > 1.0


def test_explain_names_every_part_in_order():
    policy = Policy(
        "p",
        deadline_s=1.0,
        breaker=CircuitBreakerConfig.sequential(),
        chaos=ChaosConfig(),
        rate=Rate(per_second=1),
        throttle=Throttle(),
        soft_timeout=SoftTimeout(),
    )
    words = [line.split()[1].rstrip(":") for line in policy.explain().splitlines()]
    assert words == ["deadline", "retry", "throttle", "rate", "breaker", "soft", "attempt", "chaos", "call"]


def test_a_probe_is_given_twice_the_time_with_each_opening():
    async def main(clock):
        config = CircuitBreakerConfig(failure_threshold=1, timeout_seconds=1.0, jitter=0.0)
        policy = Policy("p", breaker=config, soft_timeout=SoftTimeout(min_samples=1, at_least_s=1.0), clock=clock)
        await policy.call(answer)
        policy.breaker.open()
        given = []
        for _ in range(3):
            await clock.sleep(policy.breaker.retry_after_s)
            began = clock.monotonic()
            task = asyncio.ensure_future(policy.call(asyncio.sleep, 60))
            while policy.breaker.retry_after_s in (0.0, 0.3):
                await clock.sleep(0.5)
            given.append(clock.monotonic() - began)
            task.cancel()
            await asyncio.wait([task])
        return given

    assert run_virtual(main) == [2.0, 4.0, 8.0]
