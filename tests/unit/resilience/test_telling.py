"""What the parts tell: their counts in one value, and events that do not come once per call."""

from __future__ import annotations

import asyncio
import dataclasses
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omninode.core.errors import (
    AttemptTimeoutError,
    BreakerOpenError,
    BulkheadFullError,
    RateLimitedError,
    ThrottledError,
)
from omninode.core.events import BreakerChanged, MetricRecorded, NullSink
from omninode.monitoring.rows import row_of
from omninode.resilience import (
    Adaptive,
    BulkheadConfig,
    ChaosConfig,
    CircuitBreakerConfig,
    Fallback,
    Hedge,
    Park,
    Policy,
    Rate,
    SoftTimeout,
    Throttle,
)
from omninode.resilience.telling import Level, Spell
from omninode.testing.clock import FakeClock
from omninode.testing.sink import RecordingSink

pytestmark = pytest.mark.unit


async def answer():
    return "answer"


async def throttled():
    raise ThrottledError("busy", status=429)


def told(sink, metric):
    return [
        (event.labels.get("part"), event.labels.get("stage"), event.value)
        for event in sink.of(MetricRecorded)
        if event.metric == metric
    ]


# Spells and levels


def a_spell(sink, clock):
    return Spell(sink, clock, metric="rejected_count", name="t", part="rate")


def test_a_spell_is_told_when_it_begins_and_when_it_is_over_and_not_between(clock, sink):
    spell = a_spell(sink, clock)
    for _ in range(500):
        spell.strike()
        spell.ease()
    assert told(sink, "rejected_count") == [("rate", "began", 1.0)]
    clock.advance(1.0)
    spell.ease()
    assert told(sink, "rejected_count")[1:] == [("rate", "ended", 499.0)]
    assert [event.ok for event in sink.of(MetricRecorded)] == [False, True]


def test_a_spell_that_lasts_is_told_every_ten_seconds(clock, sink):
    spell = a_spell(sink, clock)
    for _ in range(321):
        spell.strike()
        clock.advance(0.125)
    assert [stage for _, stage, _ in told(sink, "rejected_count")] == ["began", "lasts", "lasts", "lasts", "lasts"]


def test_two_spells_with_nothing_between_them_are_two(clock, sink):
    spell = a_spell(sink, clock)
    spell.strike()
    clock.advance(5.0)
    spell.strike()
    assert [stage for _, stage, _ in told(sink, "rejected_count")] == ["began", "ended", "began"]


@given(st.lists(st.tuples(st.booleans(), st.floats(0.0, 5.0)), max_size=200))
def test_what_a_spell_tells_adds_up_and_is_little(steps):
    clock, sink = FakeClock(), RecordingSink()
    spell = a_spell(sink, clock)
    for is_strike, pause_s in steps:
        spell.strike() if is_strike else spell.ease()
        clock.advance(pause_s)
    clock.advance(1.0)
    spell.ease()
    told_of = told(sink, "rejected_count")
    assert sum(value for _, _, value in told_of) == sum(is_strike for is_strike, _ in steps)
    assert len(told_of) <= 2 + 2 * clock.monotonic()
    stages = [stage for _, stage, _ in told_of if stage != "lasts"]
    assert stages == ["began", "ended"] * (len(stages) // 2)


def test_a_spell_nobody_hears_of_is_never_on(clock):
    for sink in (None, NullSink()):
        spell = a_spell(sink, clock)
        spell.strike()
        assert not spell.is_on


def test_a_level_is_told_once_it_has_moved_far_enough(sink):
    level = Level(sink, metric="concurrency_limit", name="t", part="limit", step=0.1, start=20.0)
    for value in (21.0, 21.9, 22.0, 23.0, 19.9, 19.5):
        level.moved(value)
    assert [value for _, _, value in told(sink, "concurrency_limit")] == [22.0, 19.5]


# Each part


async def test_a_breaker_tells_with_each_change_how_many_it_refused(quick_clock, sink):
    config = CircuitBreakerConfig(failure_threshold=1, jitter=0.0, success_threshold=1)
    policy = Policy("p", breaker=config, clock=quick_clock, sink=sink)
    with pytest.raises(ThrottledError):
        await policy.call(throttled)
    for _ in range(7):
        with pytest.raises(BreakerOpenError):
            await policy.call(answer)
    quick_clock.advance(30.0)
    await policy.call(answer)
    changes = sink.of(BreakerChanged)
    assert [(event.after, event.refused) for event in changes] == [("open", 0), ("half_open", 7), ("closed", 0)]
    assert row_of(changes[1])[1]["labels"]["refused"] == 7


async def test_a_rate_tells_of_its_refusals(clock, sink):
    policy = Policy("p", rate=Rate(per_second=1.0, max_wait_s=0.0), clock=clock, sink=sink)
    await policy.call(answer)
    for _ in range(3):
        with pytest.raises(RateLimitedError):
            await policy.call(answer)
    clock.advance(2.0)
    await policy.call(answer)
    assert told(sink, "rejected_count") == [("rate", "began", 1.0), ("rate", "ended", 2.0)]
    assert policy.statistics().rate.refused == 3


async def test_a_throttle_tells_of_its_refusals(clock, sink):
    policy = Policy("p", throttle=Throttle(), clock=clock, sink=sink)
    refused = 0
    for _ in range(100):
        try:
            await policy.call(throttled)
        except RateLimitedError:
            refused += 1
        except ThrottledError:
            pass
    statistics = policy.statistics().throttle
    assert told(sink, "rejected_count") == [("throttle", "began", 1.0)]
    assert (statistics.refused, statistics.admitted, statistics.window_calls) == (refused, 100 - refused, 100)
    assert statistics.probability == 0.9


@pytest.mark.parametrize("part", ["bulkhead", "limit"])
async def test_a_full_line_is_told(clock, sink, part):
    parts = {
        "bulkhead": {"bulkhead": BulkheadConfig(max_concurrent=1, max_queue=0)},
        "limit": {"limit": Adaptive(start=1, min_limit=1, max_limit=1, max_queue=0)},
    }
    policy = Policy("p", **parts[part], clock=clock, sink=sink)
    held = asyncio.Event()
    first = asyncio.ensure_future(policy.call(held.wait))
    await asyncio.sleep(0)
    for _ in range(2):
        with pytest.raises(BulkheadFullError):
            await policy.call(answer)
    held.set()
    await first
    clock.advance(1.0)
    await policy.call(answer)
    assert told(sink, "rejected_count") == [(part, "began", 1.0), (part, "ended", 1.0)]
    assert getattr(policy.statistics(), part).rejected == 2


async def test_an_adaptive_limit_tells_where_it_went(clock, sink):
    policy = Policy("p", limit=Adaptive(start=10), clock=clock, sink=sink)
    for _ in range(2):
        clock.advance(1.0)
        with pytest.raises(ThrottledError):
            await policy.call(throttled)
    assert told(sink, "concurrency_limit") == [("limit", None, 8.0), ("limit", None, pytest.approx(6.4))]
    statistics = policy.statistics().limit
    assert (statistics.limit, statistics.shrunk, statistics.running) == (pytest.approx(6.4), 2, 0)


async def test_a_soft_timeout_tells_of_the_first_report_of_many(sink):
    soft = SoftTimeout(min_samples=5, at_least_s=0.001)
    policy = Policy("p", breaker=CircuitBreakerConfig(failure_threshold=9), soft_timeout=soft, sink=sink)
    for _ in range(5):
        await policy.call(answer)
    tasks = [asyncio.ensure_future(policy.call(asyncio.sleep, 60)) for _ in range(3)]
    while policy.statistics().soft_timeout.reported < 3:
        await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert told(sink, "soft_timeout_count") == [("soft_timeout", "began", 1.0)]
    assert policy.statistics().soft_timeout.after_s == pytest.approx(0.001, abs=0.1)


async def test_chaos_tells_that_trouble_was_made(quick_clock, sink):
    config = ChaosConfig(errors=0.4, delays=0.3, hangs=0.2, seed=3)
    policy = Policy("p", chaos=config, clock=quick_clock, sink=sink)
    for _ in range(50):
        with suppress(ConnectionError):
            await policy.call(answer)
    statistics = policy.statistics().chaos
    assert statistics.attempts == 50
    assert min(statistics.errors, statistics.delays, statistics.hangs) > 0
    assert statistics.injected == statistics.errors + statistics.delays + statistics.hangs
    assert told(sink, "chaos_count")[0] == ("chaos", "began", 1.0)


async def test_an_attempt_timeout_counts_what_it_cut_off():
    policy = Policy("p", attempt_timeout_s=0.001)
    with pytest.raises(AttemptTimeoutError):
        await policy.call(asyncio.sleep, 60)
    assert dataclasses.astuple(policy.statistics().attempt_timeout) == (0.001, 1, 0)


async def test_every_part_is_in_the_statistics_of_its_policy_and_only_those_it_has():
    policy = Policy(
        "p",
        attempt_timeout_s=1.0,
        breaker=CircuitBreakerConfig(),
        bulkhead=BulkheadConfig(),
        fallback=Fallback(lambda error: "kept", label="cache"),
        park=Park(),
        hedge=Hedge(),
        throttle=Throttle(),
        rate=Rate(per_second=100.0, burst=10),
        limit=Adaptive(),
        soft_timeout=SoftTimeout(),
        chaos=ChaosConfig(errors=1.0),
    )
    assert await policy.call(answer) == "kept"
    statistics = policy.statistics()
    empty = [field.name for field in dataclasses.fields(statistics) if getattr(statistics, field.name) is None]
    assert empty == []
    assert (statistics.calls, statistics.degraded, statistics.failed) == (1, 1, 0)
    assert (statistics.fallback.label, statistics.fallback.served, statistics.chaos.errors) == ("cache", 1, 1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        statistics.calls = 0
    assert Policy("bare").statistics().chaos is None


async def test_what_the_parts_tell_can_be_kept_as_rows(quick_clock, sink):
    policy = Policy("p", rate=Rate(per_second=1.0, max_wait_s=0.0), clock=quick_clock, sink=sink)
    await policy.call(answer)
    with pytest.raises(RateLimitedError):
        await policy.call(answer)
    table, row = row_of(next(event for event in sink.of(MetricRecorded) if event.metric == "rejected_count"))
    assert (table, row["metric"], row["value"], row["ok"]) == ("performance_metrics", "rejected_count", 1.0, False)
    assert row["labels"] == {"policy": "p", "part": "rate", "stage": "began"}
