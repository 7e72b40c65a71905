"""Policies inside one another."""

from __future__ import annotations

import asyncio

import pytest

from omninode.core.errors import AttemptTimeoutError, BreakerOpenError, DeadlineExceededError, InvalidArgumentError
from omninode.resilience import CircuitBreakerConfig, Fallback, Policy, Rate, RetryConfig
from omninode.testing.virtual_time import run_virtual

pytestmark = pytest.mark.unit


class Target:
    def __init__(self, *ends):
        self.ends, self.calls = list(ends), 0

    async def __call__(self, word="done"):
        self.calls += 1
        end = self.ends.pop(0) if self.ends else None
        if isinstance(end, Exception):
            raise end
        if end is not None:
            await asyncio.sleep(end)
        return word


def down(times):
    return [ConnectionError("down") for _ in range(times)]


def retries(count):
    return RetryConfig(max_retries=count, base_delay=0.01)


async def test_each_attempt_of_the_outer_is_a_call_of_the_inner(quick_clock):
    outer = Policy("outer", retry=retries(2), clock=quick_clock)
    inner = Policy("inner", breaker=CircuitBreakerConfig(), clock=quick_clock)
    chain = outer.then(inner)
    assert await chain.call(Target(*down(2)), word="kept") == "kept"
    assert [(one.name, one.calls, one.failed) for one in chain.statistics()] == [("outer", 1, 0), ("inner", 3, 2)]


async def test_a_breaker_outside_counts_calls_and_not_attempts(quick_clock):
    outer = Policy("calls", breaker=CircuitBreakerConfig(failure_threshold=2), clock=quick_clock)
    chain = outer.then(Policy("attempts", retry=retries(3), clock=quick_clock))
    target = Target(*down(8))
    for _ in range(2):
        with pytest.raises(ConnectionError):
            await chain.call(target)
    with pytest.raises(BreakerOpenError):
        await chain.call(target)
    assert (target.calls, outer.breaker.statistics().failures) == (8, 2)


async def test_a_rate_outside_the_retries_lets_calls_and_not_attempts_wait(quick_clock):
    chain = Policy("calls", rate=Rate(per_second=1.0), clock=quick_clock).then(
        Policy("attempts", retry=retries(3), clock=quick_clock)
    )
    await chain.call(Target(*down(3)))
    assert chain.statistics()[0].rate.admitted == 1


async def test_the_outermost_that_retries_owns_the_retries(quick_clock):
    chain = (
        Policy("first", clock=quick_clock)
        .then(Policy("second", retry=retries(2), clock=quick_clock))
        .then(Policy("third", retry=retries(5), clock=quick_clock))
    )
    target = Target(*down(9))
    with pytest.raises(ConnectionError):
        await chain.call(target)
    assert target.calls == 3
    assert [one.retry.retries for one in chain.statistics()] == [0, 2, 0]


def test_a_deadline_inside_is_an_attempt_that_timed_out_for_the_policy_outside():
    async def main(clock):
        outer = Policy("outer", deadline_s=10.0, retry=retries(1), breaker=CircuitBreakerConfig(), clock=clock)
        chain = outer.then(Policy("inner", deadline_s=1.0, clock=clock))
        began = clock.monotonic()
        value = await chain.call(Target(60.0))
        with pytest.raises(AttemptTimeoutError, match="inner: its own deadline") as caught:
            await chain.call(Target(60.0, 60.0))
        assert isinstance(caught.value.__cause__, DeadlineExceededError | AttemptTimeoutError)
        return value, clock.monotonic() - began, outer.breaker.statistics().failures

    value, took_s, failures = run_virtual(main)
    assert (value, failures) == ("done", 3)
    assert 3.0 <= took_s < 3.2


def test_a_deadline_inside_is_never_wider_than_the_one_outside():
    async def main(clock):
        chain = Policy("outer", deadline_s=1.0, retry=retries(3), clock=clock).then(
            Policy("inner", deadline_s=100.0, clock=clock)
        )
        began = clock.monotonic()
        with pytest.raises(DeadlineExceededError):
            await chain.call(Target(60.0))
        return clock.monotonic() - began

    assert run_virtual(main) == pytest.approx(1.0, abs=0.05)


async def test_an_outcome_is_that_of_the_outermost(quick_clock):
    inner = Policy("inner", fallback=Fallback(lambda error, word: "cached", label="cache"), clock=quick_clock)
    chain = Policy("outer", retry=retries(1), clock=quick_clock).then(inner)
    outcome = await chain.outcome(Target(*down(1)), "q")
    assert (outcome.value, outcome.attempts, outcome.degraded) == ("cached", 1, None)
    assert inner.statistics().degraded == 1


async def test_a_chain_decorates_what_a_policy_decorates():
    chain = Policy("outer", retry=retries(1)).then(Policy("inner", breaker=CircuitBreakerConfig()))
    tries = []

    @chain
    async def ask(word):
        tries.append(word)
        if len(tries) == 1:
            raise ConnectionError("down")
        return word

    @chain
    async def count(to):
        tries.append("stream")
        if tries.count("stream") == 1:
            raise ConnectionError("down")
        for number in range(to):
            yield number

    @chain
    def plain(word):
        tries.append("plain")
        if tries.count("plain") == 1:
            raise ConnectionError("down")
        return word

    assert await ask("a") == "a"
    assert [number async for number in count(3)] == [0, 1, 2]
    assert await asyncio.to_thread(plain, "b") == "b"
    assert tries == ["a", "a", "stream", "stream", "plain", "plain"]
    assert chain.policies[1].breaker.statistics().failures == 3


async def test_a_guard_is_within_all_of_them():
    chain = Policy("outer", breaker=CircuitBreakerConfig(failure_threshold=1)).then(
        Policy("inner", breaker=CircuitBreakerConfig(failure_threshold=1))
    )
    with pytest.raises(ConnectionError):
        async with chain.guard():
            raise ConnectionError("down")
    assert [one.breaker.failures for one in chain.statistics()] == [1, 1]


def test_a_chain_explains_its_order_and_who_owns_the_retries():
    chain = Policy("calls", retry=RetryConfig()).then(Policy("attempts", deadline_s=2.0, retry=RetryConfig()))
    lines = chain.explain().splitlines()
    assert lines[0] == "calls"
    assert lines[3] == "inside each attempt of 'calls':"
    assert lines[4] == "  1. deadline: 2 s for all attempts and waits"
    assert lines[-1] == "  (one attempt here: 'calls' owns the retries)"


@pytest.mark.parametrize("wrong", [None, "p", Policy, RetryConfig()])
def test_what_is_no_policy_cannot_be_inside_one(wrong):
    with pytest.raises(InvalidArgumentError, match="Chain: policy"):
        Policy("p").then(wrong)


def test_a_policy_cannot_be_inside_itself():
    policy = Policy("p")
    with pytest.raises(InvalidArgumentError, match="inside itself"):
        policy.then(Policy("q")).then(policy)
