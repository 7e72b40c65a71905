"""A second attempt beside a slow one."""

from __future__ import annotations

import asyncio

import pytest

from omninode.core.errors import RequestRejectedError
from omninode.core.events import MetricRecorded
from omninode.resilience import CircuitBreakerConfig, Hedge, Policy
from omninode.resilience.latency import Latencies

pytestmark = pytest.mark.unit

HEDGE = Hedge(min_samples=10)


class Target:
    """Answers after a tenth of a second, or as scripted: "hang", an error, or a value."""

    def __init__(self, clock):
        self.clock, self.script, self.calls, self.cancelled = clock, [], 0, 0

    async def __call__(self):
        self.calls += 1
        end = self.script.pop(0) if self.script else "quick"
        try:
            if end == "hang":
                await asyncio.Event().wait()
            self.clock.advance(0.1)
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(end, Exception):
            raise end
        return end


async def warmed(clock, **changes):
    policy = Policy("p", **({"hedge": HEDGE, "breaker": CircuitBreakerConfig(), "clock": clock} | changes))
    target = Target(clock)
    for _ in range(10):
        await policy.call(target)
    assert target.calls == 10
    target.calls = 0
    return policy, target


async def started(clock, policy, func):
    """A call that has begun and whose first attempt has used up its usual time."""
    task = asyncio.ensure_future(policy.call(func))
    for _ in range(4):
        await asyncio.sleep(0)
    clock.advance(0.11)
    return task


async def test_nothing_is_hedged_before_enough_is_known(clock):
    policy, target = Policy("p", hedge=HEDGE, clock=clock), Target(clock)
    for _ in range(9):
        await policy.call(target)
    assert policy.statistics().hedge.after_s is None
    assert target.calls == 9


async def test_a_slow_attempt_is_doubled_and_the_loser_cancelled(clock, sink):
    policy, target = await warmed(clock, sink=sink)
    target.script = ["hang", "second"]
    assert await (await started(clock, policy, target)) == "second"
    statistics = policy.statistics()
    hedge = statistics.hedge
    assert (target.calls, target.cancelled) == (2, 1)
    assert (hedge.started, hedge.won, hedge.cancelled) == (1, 1, 1)
    assert (statistics.breaker.failures, statistics.breaker.neutral) == (0, 1)
    assert [event.metric for event in sink.of(MetricRecorded)] == ["hedge_count"]


async def test_an_error_that_another_attempt_would_meet_ends_both(clock):
    policy, target = await warmed(clock)
    target.script = ["hang", RequestRejectedError("bad request", status=400)]
    task = await started(clock, policy, target)
    with pytest.raises(RequestRejectedError):
        await task
    assert target.cancelled == 1


async def test_a_first_attempt_that_fails_quickly_is_not_hedged(clock):
    policy, target = await warmed(clock)
    target.script = [ConnectionError("down")]
    with pytest.raises(ConnectionError):
        await policy.call(target)
    assert policy.statistics().hedge.started == 0


async def test_a_second_attempt_that_the_breaker_refuses_leaves_the_first_its_chance(clock):
    policy, _ = await warmed(clock)
    policy.breaker.open()
    clock.advance(60.0)
    release = asyncio.Event()

    async def probe():
        await release.wait()
        return "probed"

    task = await started(clock, policy, probe)
    for _ in range(8):
        await asyncio.sleep(0)
    assert policy.statistics().breaker.rejected == 1
    release.set()
    assert await task == "probed"


@pytest.mark.parametrize("turns", [0, 1])
async def test_a_second_attempt_that_fails_leaves_the_first_its_chance(clock, turns):
    policy, target = await warmed(clock)
    release = asyncio.Event()

    async def slow_then_down():
        target.calls += 1
        if target.calls == 1:
            await release.wait()
            return "first"
        release.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        raise ConnectionError("second")

    assert await (await started(clock, policy, slow_then_down)) == "first"
    assert target.calls == 2


async def test_the_budget_bounds_second_attempts(clock):
    policy, target = await warmed(clock, hedge=Hedge(min_samples=10, budget=0.0))
    while not policy.statistics().hedge.denied:
        target.script = ["hang", "second"]
        task = await started(clock, policy, target)
        for _ in range(8):
            await asyncio.sleep(0)
        if not task.done():
            task.cancel()
    hedge = policy.statistics().hedge
    await asyncio.wait([task])
    assert 10 <= hedge.started <= 12


async def test_cancelling_the_call_cancels_both_attempts(clock):
    policy, target = await warmed(clock)
    target.script = ["hang", "hang"]
    task = await started(clock, policy, target)
    while target.calls < 2:
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert (task.cancelled(), target.cancelled) == (True, 2)
    assert policy.statistics().breaker.failures == 0


def test_latencies_keep_the_latest_and_their_order():
    latencies = Latencies(size=3)
    for value in (9.0, 1.0, 5.0, 2.0):
        latencies.add(value)
    assert len(latencies) == 3
    assert latencies.quantile(0.0, at_least=1) == 1.0
    assert latencies.quantile(0.99, at_least=3) == 5.0
    assert latencies.quantile(0.5, at_least=4) is None
