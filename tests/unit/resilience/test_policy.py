"""The parts of a policy together."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from omninode.core import current
from omninode.core.deadline import Deadline
from omninode.core.errors import (
    AttemptTimeoutError,
    AuthenticationError,
    BreakerOpenError,
    DeadlineExceededError,
    InvalidArgumentError,
)
from omninode.core.events import AttemptFinished, BreakerChanged, MetricRecorded, RetryScheduled
from omninode.resilience import (
    BulkheadConfig,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitState,
    Fallback,
    Policy,
    RetryConfig,
)

pytestmark = pytest.mark.unit


async def down(*args, **kwargs):
    raise ConnectionError("down")


async def echo(value, *, suffix=""):
    return value + suffix


def everything(clock, **changes):
    settings = {
        "deadline_s": 60.0,
        "attempt_timeout_s": 5.0,
        "retry": RetryConfig(max_retries=2),
        "breaker": CircuitBreakerConfig(failure_threshold=4, jitter=0.0),
        "bulkhead": BulkheadConfig(max_concurrent=2),
        "clock": clock,
    }
    return Policy("gpt-eu", **(settings | changes))


async def test_a_good_call_passes_through_every_part(quick_clock):
    policy = everything(quick_clock)
    assert await policy.call(echo, "a", suffix="b") == "ab"
    statistics = policy.statistics()
    assert (statistics.calls, statistics.succeeded, statistics.failed) == (1, 1, 0)
    assert statistics.breaker.successes == statistics.bulkhead.admitted == statistics.retry.attempts == 1


async def test_every_retry_asks_the_breaker_again(quick_clock, sink):
    policy = everything(quick_clock, sink=sink)
    with pytest.raises(ConnectionError):
        await policy.call(down)
    with pytest.raises(BreakerOpenError) as caught:
        await policy.call(down)
    assert isinstance(caught.value.__cause__, ConnectionError)
    assert policy.breaker.state is CircuitState.OPEN
    assert [event.after for event in sink.of(BreakerChanged)] == ["open"]
    assert len(sink.of(AttemptFinished)) == 4
    assert policy.statistics().failed == 2


async def test_a_breaker_may_be_shared(quick_clock):
    breaker = CircuitBreaker("shared", CircuitBreakerConfig(failure_threshold=1), clock=quick_clock)
    one, two = (Policy(name, breaker=breaker, clock=quick_clock) for name in ("one", "two"))
    with pytest.raises(ConnectionError):
        await one.call(down)
    with pytest.raises(BreakerOpenError):
        await two.call(echo, "x")


async def test_a_hang_is_cut_repeated_and_counted():
    policy = Policy(
        "p", attempt_timeout_s=0.01, retry=RetryConfig(max_retries=1, base_delay=0), breaker=CircuitBreakerConfig()
    )
    with pytest.raises(AttemptTimeoutError):
        await policy.call(asyncio.sleep, 60)
    assert policy.statistics().breaker.failures == 2


async def test_a_hang_under_a_deadline_alone_reaches_the_breaker():
    policy = Policy("p", deadline_s=0.02, breaker=CircuitBreakerConfig())
    with pytest.raises(DeadlineExceededError):
        await policy.call(asyncio.sleep, 60)
    assert policy.statistics().breaker.failures == 1


async def test_a_deadline_that_has_passed_calls_nothing_and_blames_nobody(quick_clock):
    policy = everything(quick_clock)
    deadline = Deadline.after(0.0, clock=quick_clock)
    with current.entered(deadline=deadline), pytest.raises(DeadlineExceededError):
        await policy.call(echo, "x")
    assert policy.statistics().breaker.failures == 0


async def test_the_deadline_is_narrowed_for_the_call_and_gone_after_it(quick_clock):
    policy = everything(quick_clock)

    async def remaining():
        return current.scope().deadline.remaining()

    with current.entered(deadline=Deadline.after(10.0, clock=quick_clock)) as outer:
        assert await policy.call(remaining) == 10.0
        assert current.scope() is outer
    assert await policy.call(remaining) == 60.0
    assert current.scope().deadline is None


async def test_the_fallback_serves_and_says_so(quick_clock, sink):
    async def cached(error, question):
        return f"{question}: yesterday's answer ({type(error).__name__})"

    policy = everything(quick_clock, fallback=cached, sink=sink)
    assert await policy.call(down, "q") == "q: yesterday's answer (ConnectionError)"
    outcome = await policy.outcome(down, "q")
    assert (outcome.degraded, outcome.is_ok) == ("cached", True)
    assert isinstance(outcome.error, BreakerOpenError)
    assert [event.labels["degraded"] for event in sink.of(MetricRecorded)] == ["cached", "cached"]
    statistics = policy.statistics()
    assert (statistics.calls, statistics.degraded, statistics.failed) == (2, 2, 0)


async def test_a_good_answer_is_not_labelled(quick_clock):
    outcome = await everything(quick_clock, fallback=lambda error: "stand-in").outcome(echo, "x")
    assert (outcome.unwrap(), outcome.degraded, outcome.attempts) == ("x", None, 1)


async def test_a_client_fault_is_shown_not_served_over(quick_clock):
    async def wrong_key():
        raise AuthenticationError("key", status=401)

    with pytest.raises(AuthenticationError):
        await everything(quick_clock, fallback=lambda error: "stand-in").call(wrong_key)


async def test_a_fallback_that_fails_leaves_the_first_error(quick_clock):
    def broken(error):
        raise KeyError("cache")

    fallback = Fallback(broken, label="cache")
    with pytest.raises(ConnectionError) as caught:
        await everything(quick_clock, fallback=fallback).call(down)
    assert any("'cache' failed too" in note for note in caught.value.__notes__)
    assert (fallback.served, fallback.failed) == (0, 1)


async def test_the_fallback_answers_when_the_deadline_has_passed():
    policy = Policy("p", deadline_s=0.01, fallback=lambda error, *args: "stand-in")
    assert await policy.call(asyncio.sleep, 60) == "stand-in"


async def test_outcome_tells_attempts_and_waits(quick_clock):
    outcome = await everything(quick_clock).outcome(down)
    assert (outcome.attempts, len(outcome.waits_s), outcome.is_ok) == (3, 2, False)
    assert "no more attempts" in outcome.gave_up
    with pytest.raises(ConnectionError):
        outcome.unwrap()


async def test_the_decorator_keeps_name_and_signature(quick_clock):
    policy = everything(quick_clock)

    @policy
    async def ask(question: str, *, times: int = 1) -> str:
        """Ask it."""
        return question * times

    assert await ask("q", times=2) == "qq"
    assert (ask.__name__, ask.__doc__) == ("ask", "Ask it.")
    assert policy.statistics().calls == 1


@pytest.mark.parametrize("turns", range(12))
async def test_cancelled_anywhere_a_policy_keeps_nothing(clock, turns):
    policy = everything(clock)
    attempts = 0

    async def flaky():
        nonlocal attempts
        attempts += 1
        await asyncio.sleep(0)
        if attempts % 2:
            raise ConnectionError("once")
        await asyncio.sleep(60)

    tasks = [asyncio.ensure_future(policy.call(flaky)) for _ in range(6)]
    for _ in range(turns):
        await asyncio.sleep(0)
        clock.advance(0.05)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    statistics = policy.statistics()
    assert all(task.cancelled() for task in tasks)
    assert (statistics.bulkhead.running, statistics.bulkhead.waiting) == (0, 0)
    # A task cancelled before its first turn never reached the policy.
    assert statistics.cancelled == statistics.calls == (6 if turns else 0)
    assert statistics.breaker.state is CircuitState.CLOSED
    assert statistics.breaker.probes_under_way == 0


async def test_nested_policies_do_not_multiply_attempts(quick_clock):
    calls = 0

    async def count():
        nonlocal calls
        calls += 1
        raise ConnectionError("down")

    inner = Policy("inner", retry=RetryConfig(max_retries=3), clock=quick_clock)
    outer = Policy("outer", retry=RetryConfig(max_retries=3), clock=quick_clock)
    with pytest.raises(ConnectionError):
        await outer.call(inner.call, count)
    assert calls == 4


def test_explain_names_the_parts_in_order(clock):
    lines = everything(clock, fallback=lambda error: None).explain().splitlines()
    words = [line.split()[1].rstrip(":") for line in lines]
    assert words == ["fallback", "deadline", "bulkhead", "retry", "breaker", "attempt", "call"]


def test_a_length_out_of_range_is_named():
    with pytest.raises(InvalidArgumentError, match="deadline_s"):
        Policy("p", deadline_s=-1)
    with pytest.raises(InvalidArgumentError, match="attempt timeout"):
        Policy("p", attempt_timeout_s=0)


async def test_the_scope_of_an_attempt_keeps_everything_else(quick_clock):
    outer = current.Scope(
        runtime="runtime",
        run_id="run",
        phase="phase",
        task_id="task",
        agent_id="agent",
        deadline=None,
        retry_owner=None,
    )
    token = current.enter(outer)
    try:
        inner = await everything(quick_clock).call(current.scope)
    finally:
        current.leave(token)
    assert replace(inner, deadline=None, retry_owner=None) == outer
    assert (inner.retry_owner, inner.deadline.remaining()) == ("gpt-eu", 60.0)


async def test_one_call_may_try_again_by_another_rule(quick_clock):
    policy = everything(quick_clock, breaker=None)
    once = await policy.outcome_as(RetryConfig(max_retries=0), down)
    usual = await policy.outcome(down)
    assert (once.attempts, usual.attempts) == (1, 3)
    assert policy.statistics().retry.attempts == 4


@pytest.mark.parametrize("way", ["call", "outcome"])
async def test_attempts_and_retries_are_told_under_the_name_of_the_target(quick_clock, sink, way):
    policy = everything(quick_clock, sink=sink, retry=RetryConfig(max_retries=1, base_delay=0.0, jitter=False))
    if way == "call":
        with pytest.raises(ConnectionError):
            await policy.call(down)
    else:
        await policy.outcome(down)
        await policy.outcome_as(RetryConfig(max_retries=1, base_delay=0.0, jitter=False), down)
    assert {event.call for event in sink.of(AttemptFinished)} == {"gpt-eu"}
    assert {event.call for event in sink.of(RetryScheduled)} == {"gpt-eu"}
