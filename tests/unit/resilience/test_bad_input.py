"""What a policy makes of wrong settings, wrong time, and callbacks that fail: a named error, or what is written here."""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import aclosing
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omninode.core import current
from omninode.core.deadline import Deadline
from omninode.core.errors import (
    BreakerOpenError,
    DeadlineExceededError,
    InvalidArgumentError,
    ThrottledError,
)
from omninode.resilience import (
    Adaptive,
    AnyOf,
    Bulkhead,
    BulkheadConfig,
    ChaosConfig,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitState,
    FailureRate,
    Fallback,
    Hedge,
    Outcome,
    Policy,
    Rate,
    RetryConfig,
    RetryManager,
    Sequential,
    SoftTimeout,
    Throttle,
)
from omninode.resilience.backoff import asked_wait_s, parse_retry_after
from omninode.resilience.rate import RateLimit
from omninode.testing.clock import FakeClock

pytestmark = pytest.mark.unit

BREAKER = CircuitBreakerConfig(failure_threshold=1, success_threshold=1, timeout_seconds=10.0, jitter=0.0)
RETRY = RetryConfig(max_retries=2, base_delay=0.0)
# Compiled, and the long way.
WAYS = {
    "nothing": {},
    "retries": {"retry": RETRY},
    "limited": {"deadline_s": 60.0, "retry": RETRY, "breaker": BREAKER},
    "long": {"deadline_s": 60.0, "bulkhead": BulkheadConfig(), "retry": RETRY, "breaker": BREAKER},
}


async def answer():
    return "answer"


async def answers():
    yield "answer"


async def down():
    raise ConnectionError("down")


# Settings


@pytest.mark.parametrize(
    "part",
    ["retry", "breaker", "bulkhead", "fallback", "park", "hedge", "throttle", "rate", "limit", "soft_timeout", "chaos",
     "sink", "clock"],
)  # fmt: skip
@pytest.mark.parametrize("value", [True, 3, "on", RetryConfig])
def test_a_part_of_the_wrong_kind_is_named(part, value):
    if part == "fallback" and value is RetryConfig:
        pytest.skip("a class can be called")
    settings = {"breaker": BREAKER, part: value}
    with pytest.raises(InvalidArgumentError, match=rf"'p': {part} is .*; pass"):
        Policy("p", **settings)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: RetryConfig(retry_on=3), "retry_on"),
        (lambda: RetryConfig(classify=3), "classify"),
        (lambda: RetryConfig(budget=3), "budget"),
        (lambda: RetryConfig(base_delay=10**400), "base_delay"),
        (lambda: RetryConfig(jitter=[]), "jitter"),
        (lambda: CircuitBreakerConfig(detector=3), "detector"),
        (lambda: CircuitBreakerConfig(closing=3), "closing"),
        (lambda: CircuitBreakerConfig(classify=3), "classify"),
        (lambda: CircuitBreakerConfig(probe_ramp="yes"), "probe_ramp"),
        (lambda: Sequential(p0="a"), "p0"),
        (lambda: Sequential(p1=None), "p1"),
        (lambda: Sequential(p0=0.9, p1=0.5), "p0"),
        (lambda: Sequential(false_trip_calls="x"), "false_trip_calls"),
        (lambda: Sequential(false_trip_calls=1.0), "false_trip_calls"),
        (lambda: Fallback(3), "Fallback"),
        (lambda: AnyOf(3), "AnyOf"),
        (lambda: Adaptive(rule=3), "rule"),
        (lambda: Adaptive(sample=3), "sample"),
        (lambda: ChaosConfig(error=3), "error"),
        (lambda: ChaosConfig(is_enabled=True), "is_enabled"),
    ],
)
def test_a_setting_of_the_wrong_kind_is_named(make, name):
    with pytest.raises(InvalidArgumentError, match=name):
        make()


# A plain function where an async one is expected, and the other way round


@pytest.mark.parametrize("way", WAYS)
async def test_a_plain_function_under_call_runs_in_place_and_is_protected(way):
    policy = Policy("p", **WAYS[way])
    assert await policy.call(lambda: "plain") == "plain"
    calls = []

    def fails():
        calls.append(1)
        raise ConnectionError("down")

    with pytest.raises((ConnectionError, BreakerOpenError)):
        await policy.call(fails)
    # Its breaker opens at the first failure; without one it is tried three times, without retries once.
    assert len(calls) == (3 if way == "retries" else 1)


# Time


def test_a_clock_that_went_back_does_not_lengthen_a_break(clock):
    breaker = CircuitBreaker("b", BREAKER, clock=clock)
    breaker.open()
    clock.advance(-3600.0)
    assert breaker.retry_after_s == 0.0
    breaker.admit().release(Outcome.SUCCESS)
    assert breaker.state is CircuitState.CLOSED


def test_a_clock_that_went_back_does_not_end_an_isolation(clock):
    breaker = CircuitBreaker("b", BREAKER, clock=clock)
    breaker.isolate()
    clock.advance(-3600.0)
    assert breaker.retry_after_s is None
    with pytest.raises(BreakerOpenError):
        breaker.admit()


def test_a_clock_that_went_back_does_not_keep_a_lost_probe_for_longer(clock):
    breaker = CircuitBreaker("b", BREAKER, clock=clock)
    breaker.open()
    clock.advance(10.0)
    breaker.admit()
    clock.advance(-3600.0)
    assert breaker.admit().is_probe
    with pytest.raises(BreakerOpenError):
        breaker.admit()


def test_a_clock_that_leapt_ahead_ends_a_break_and_one_probe_goes_first(clock):
    breaker = CircuitBreaker("b", BREAKER, clock=clock)
    breaker.open()
    clock.advance(1e9)
    assert breaker.admit().is_probe
    with pytest.raises(BreakerOpenError):
        breaker.admit()


async def test_a_clock_that_went_back_does_not_hold_calls_to_a_rate(clock):
    limit = RateLimit("r", Rate(per_second=2.0), clock=clock)
    await limit.acquire()
    clock.advance(-3600.0)
    await limit.acquire()
    assert clock.slept == []
    assert limit.statistics().refused == 0


def test_a_clock_that_went_back_empties_a_time_window(clock):
    breaker = CircuitBreaker("b", CircuitBreakerConfig(detector=FailureRate(seconds=10.0, min_calls=2)), clock=clock)
    for _ in range(9):
        breaker.admit().release(Outcome.SUCCESS)
    clock.advance(-3600.0)
    breaker.admit().release(Outcome.TRANSIENT)
    breaker.admit().release(Outcome.TRANSIENT)
    assert breaker.state is CircuitState.OPEN


async def test_a_clock_that_went_back_takes_no_hedges_away(clock):
    policy = Policy("p", hedge=Hedge(min_samples=1), clock=clock)
    await policy.call(answer)
    clock.advance(-3600.0)
    calls = 0

    async def first_hangs():
        nonlocal calls
        calls += 1
        if calls == 1:
            await asyncio.Event().wait()
        return "second"

    task = asyncio.ensure_future(policy.call(first_hangs))
    for _ in range(4):
        await asyncio.sleep(0)
        clock.advance(0.1)
    assert await task == "second"
    assert policy.statistics().hedge.denied == 0


async def test_a_clock_that_went_back_still_lets_a_limit_shrink(clock):
    policy = Policy("p", limit=Adaptive(start=10), clock=clock)

    async def throttled():
        raise ThrottledError("busy", status=429)

    for _ in range(2):
        with pytest.raises(ThrottledError):
            await policy.call(throttled)
        clock.advance(-3600.0)
    assert policy.statistics().limit.limit == pytest.approx(6.4)


# A deadline that has passed


@pytest.mark.parametrize("way", WAYS)
async def test_after_the_deadline_nothing_is_begun_and_nobody_blamed(way, clock):
    policy, calls = Policy("p", **WAYS[way], clock=clock), []

    async def work():
        calls.append(1)

    async def stream():
        calls.append(1)
        yield 1

    async def block():
        async with policy.guard():
            calls.append(1)

    async def items():
        async with aclosing(policy.stream(stream)) as opened:
            async for _ in opened:
                pass

    with current.entered(deadline=Deadline.after(0.0, clock=clock)):
        for form in (lambda: policy.call(work), block, items):
            if way == "nothing" and form is not block:
                # No part of it knows time.
                continue
            with pytest.raises(DeadlineExceededError):
                await form()
    assert calls == []
    if policy.breaker is not None:
        assert (policy.breaker.statistics().failures, policy.breaker.statistics().rejected) == (0, 0)
    if policy.bulkhead is not None:
        assert policy.bulkhead.statistics().running == 0


# Retry-After


@given(
    text=st.text(max_size=40) | st.from_regex(r"[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{2,9} \d\d:\d\d:\d\d [-+A-Z\d]+")
)
def test_a_retry_after_of_any_text_is_a_wait_or_none(text):
    wait = parse_retry_after(text, now=datetime(2026, 11, 1, tzinfo=UTC))
    assert wait is None or wait >= 0.0


@pytest.mark.parametrize("value", [10**400, float("nan"), float("inf"), -1, True, None, b"5", "soon"])
def test_a_wait_that_is_no_length_of_time_counts_as_none(value):
    error = ConnectionError()
    error.retry_after = value
    assert asked_wait_s(error) is None


@pytest.mark.parametrize(
    ("text", "waits"),
    [
        ("Thu, 01 Jan 2026 00:00:07 GMT", [7.0]),
        ("Wed, 31 Dec 2025 00:00:00 GMT", [0.0]),
        ("-30", [0.0]),
        ("soon", [0.0]),
        ("7", [7.0]),
        ("1e9", []),
        ("Thu, 01 Jan 2099 00:00:00 GMT", []),
    ],
)
async def test_every_form_of_retry_after_ends_in_a_wait_or_at_once(text, waits, quick_clock, monkeypatch):
    class Moment(datetime):
        @classmethod
        def now(cls, tz=None):
            return quick_clock.now()

    monkeypatch.setattr("omninode.resilience.backoff.datetime", Moment)
    calls = 0

    async def busy():
        nonlocal calls
        calls += 1
        if calls == 1:
            error = ConnectionError("busy")
            error.response = SimpleNamespace(status=503, headers={"Retry-After": text})
            raise error
        return "answer"

    policy = Policy("p", retry=RetryConfig(base_delay=0.0), clock=quick_clock)
    if waits:
        assert await policy.call(busy) == "answer"
    else:
        with pytest.raises(ConnectionError) as caught:
            await policy.call(busy)
        assert "longer than max_retry_after" in caught.value.__notes__[0]
    assert quick_clock.slept == waits


# Callbacks


class Broken:
    """A sink that fails."""

    def __init__(self):
        self.times = 0

    def emit(self, event):
        self.times += 1
        raise RuntimeError("the sink is broken")


@pytest.mark.parametrize("way", WAYS)
async def test_a_sink_that_raises_changes_no_call_and_is_logged_once(way, quick_clock, caplog):
    sink = Broken()
    policy = Policy("p", **WAYS[way], fallback=lambda error, *args: "stand-in", sink=sink, clock=quick_clock)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert await policy.call(answer) == "answer"
        assert await policy.call(down) == "stand-in"
        assert await policy.call(down) == "stand-in"
    assert sink.times > 1
    assert [record.message for record in caplog.records] == ["an event sink failed; its failures are not told again"]
    if policy.breaker is not None:
        assert (policy.breaker.state, policy.breaker.statistics().probes_under_way) == (CircuitState.OPEN, 0)


@pytest.mark.parametrize("make", [CircuitBreaker, RetryManager])
async def test_a_sink_that_raises_changes_nothing_for_a_part_alone(make, quick_clock):
    sink = Broken()
    part = CircuitBreaker("b", BREAKER, sink=sink) if make is CircuitBreaker else RetryManager(RETRY, sink=sink)
    with pytest.raises(ConnectionError):
        await (part.call if make is CircuitBreaker else part.execute)(down)
    assert sink.times > 0


@pytest.mark.parametrize("made", [None, "transient", 3])
async def test_a_classifier_that_gives_no_outcome_counts_as_one_that_failed(made, clock):
    config = CircuitBreakerConfig(failure_threshold=1, classify=lambda error: made)
    policy = Policy("p", breaker=config, clock=clock)
    with pytest.raises(ConnectionError) as caught:
        await policy.call(down)
    assert policy.breaker.state is CircuitState.OPEN
    assert any("the classifier" in note for note in caught.value.__notes__)


async def test_a_sample_that_is_no_number_teaches_nothing():
    policy = Policy("p", limit=Adaptive(sample=lambda value, took_s: "fast"))
    assert await policy.call(answer) == "answer"
    assert policy.statistics().limit.running == 0


# More than one event loop


def test_a_policy_that_runs_on_one_loop_refuses_another_at_the_same_time():
    for parts in ({"deadline_s": 60.0}, {"bulkhead": BulkheadConfig()}):
        policy, inside, release, errors = Policy("p", **parts), threading.Event(), threading.Event(), []

        async def hold(inside=inside, release=release):
            inside.set()
            while not release.is_set():
                await asyncio.sleep(0.001)

        first = threading.Thread(target=asyncio.run, args=(policy.call(hold),))
        first.start()
        assert inside.wait(10)
        try:
            asyncio.run(policy.call(answer))
        except InvalidArgumentError as error:
            errors.append(str(error))
        release.set()
        first.join()
        assert errors == ["'p' is in use on another event loop that is running; make one for each loop"]
        assert asyncio.run(policy.call(answer)) == "answer"


def test_a_bulkhead_serves_one_event_loop_after_another():
    bulkhead = Bulkhead("b", BulkheadConfig(max_concurrent=1))
    for _ in range(3):
        asyncio.run(bulkhead.call(asyncio.sleep, 0))
    assert bulkhead.statistics().admitted == 3


# A generator closed half-way


@pytest.mark.parametrize("way", ["close", "throw", "forget"])
async def test_a_stream_that_is_left_half_way_gives_everything_back(way):
    policy = Policy("p", deadline_s=60.0, breaker=BREAKER, bulkhead=BulkheadConfig(max_concurrent=1, max_queue=0))
    closed = []

    async def source():
        try:
            while True:
                yield 1
        finally:
            closed.append(way)

    items = policy.stream(source)
    assert await anext(items) == 1
    if way == "close":
        await items.aclose()
    elif way == "throw":
        with pytest.raises(KeyError):
            await items.athrow(KeyError("the caller's own"))
    else:
        # The event loop closes what nobody holds any more.
        del items
        for _ in range(3):
            await asyncio.sleep(0)
    statistics = policy.statistics()
    assert (closed, statistics.bulkhead.running, statistics.calls) == ([way], 0, 1)
    assert statistics.breaker.successes + statistics.breaker.neutral + statistics.breaker.failures == 1
    assert current.scope().deadline is None


def test_a_jump_of_the_clock_moves_deadlines_with_it():
    clock = FakeClock()
    deadline = Deadline.after(5.0, clock=clock)
    clock.advance(1e9)
    assert (deadline.remaining(), deadline.has_passed) == (0.0, True)
    clock.advance(-2e9)
    assert not deadline.has_passed


def test_a_soft_timeout_and_a_throttle_out_of_range_are_named():
    for make, name in [(lambda: SoftTimeout(times=0.5), "times"), (lambda: Throttle(factor=float("nan")), "factor")]:
        with pytest.raises(InvalidArgumentError, match=name):
            make()
