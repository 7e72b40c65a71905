"""What news of other processes do to the breakers of this one, and the task that waits for them."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omninode.core.errors import BreakerOpenError
from omninode.core.events import MetricRecorded
from omninode.resilience import (
    AnyOf,
    BreakerRegistry,
    CircuitBreakerConfig,
    CircuitState,
    Consecutive,
    FailureRate,
    Outcome,
    PeerListener,
    PeerNews,
    Peers,
    Sequential,
    SlowCallRate,
)
from omninode.storage.news import news_of
from omninode.testing.clock import FakeClock

pytestmark = pytest.mark.unit

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN


def news(state=OPEN, generation=1, *, left_s=2.0, sender="a", name="gpt"):
    return PeerNews(sender=sender, name=name, state=state, generation=generation, left_s=left_s)


def registry_with(clock, detector=None, **more):
    registry = BreakerRegistry(CircuitBreakerConfig(detector=detector or Consecutive(5), jitter=0.0), clock, **more)
    registry.get("gpt")
    return registry


def failures_to_trip(registry, name="gpt", most=40):
    breaker = registry.get(name)
    for count in range(1, most + 1):
        breaker.admit().release(Outcome.TRANSIENT)
        if breaker.state is OPEN:
            return count
    return None


@pytest.mark.parametrize(
    ("detector", "alone", "warned"),
    [
        (Consecutive(5), 5, 3),
        (Consecutive(1), 1, 1),
        (Sequential(), 16, 12),
        (FailureRate(calls=20, min_calls=20), 20, 10),
        (AnyOf(Sequential(), Consecutive(20)), 16, 10),
    ],
)
def test_a_breaker_open_at_a_peer_lessens_what_this_one_needs(clock, detector, alone, warned):
    assert failures_to_trip(registry_with(clock, detector)) == alone
    registry = registry_with(clock, detector)
    Peers(registry, clock=clock).hear([news()])
    assert registry.get("gpt").state is CLOSED
    assert failures_to_trip(registry) == warned


def test_a_slow_call_rate_needs_half_the_calls_too(clock):
    registry = registry_with(clock, SlowCallRate(slower_than_s=1.0, calls=9, min_calls=9))
    Peers(registry, clock=clock).hear([news(left_s=30.0)])
    breaker = registry.get("gpt")
    for _ in range(5):
        assert breaker.state is CLOSED
        permit = breaker.admit()
        clock.advance(2.0)
        permit.release(Outcome.SUCCESS)
    assert breaker.state is OPEN
    assert "open in another process" in breaker.statistics().reason


@pytest.mark.parametrize(
    ("detector", "counted"),
    [(Consecutive(5), 4), (Sequential(), 15), (FailureRate(share=0.5, calls=40, min_calls=20), 19)],
)
def test_nothing_opens_by_news_alone_nor_by_a_call_that_did_not_fail(clock, detector, counted):
    registry = registry_with(clock, detector)
    breaker = registry.get("gpt")
    for _ in range(counted):
        breaker.admit().release(Outcome.TRANSIENT)
    Peers(registry, clock=clock).hear([news()])
    assert breaker.state is CLOSED
    breaker.admit().release(Outcome.NEUTRAL)
    breaker.admit().release(Outcome.CLIENT)
    assert breaker.state is CLOSED


def test_a_good_call_does_not_profit_from_half_the_calls_of_a_rate(clock):
    registry = registry_with(clock, FailureRate(share=0.5, calls=40, min_calls=20))
    breaker = registry.get("gpt")
    for _ in range(12):
        breaker.admit().release(Outcome.TRANSIENT)
    Peers(registry, clock=clock).hear([news()])
    breaker.admit().release(Outcome.SUCCESS)
    assert breaker.state is CLOSED
    breaker.admit().release(Outcome.TRANSIENT)
    assert breaker.state is OPEN


@pytest.mark.parametrize(("left_s", "lasts_s"), [(0.5, 5.5), (300.0, 30.0), (-4.0, 1.0)])
def test_a_peers_word_counts_for_its_break_and_its_probes_and_at_most_half_a_minute(clock, left_s, lasts_s):
    registry = registry_with(clock)
    Peers(registry, clock=clock).hear([news(left_s=left_s)])
    clock.advance(lasts_s - 0.01)
    for _ in range(2):
        registry.get("gpt").admit().release(Outcome.TRANSIENT)
    clock.advance(0.01)
    registry.get("gpt").admit().release(Outcome.TRANSIENT)
    assert registry.get("gpt").state is CLOSED
    assert failures_to_trip(registry) == 2


def test_what_a_break_left_long_ago_says_nothing(clock, sink):
    registry = registry_with(clock)
    Peers(registry, clock=clock, sink=sink).hear([news(left_s=-6.0)])
    assert sink.of(MetricRecorded) == []
    assert failures_to_trip(registry) == 5


def test_a_peer_that_closed_ends_what_it_said_and_not_what_others_say(clock):
    registry = registry_with(clock)
    peers = Peers(registry, clock=clock)
    peers.hear([news(sender="a", left_s=20.0), news(sender="b", left_s=10.0), news(CLOSED, 2, sender="a")])
    clock.advance(14.0)
    registry.get("gpt").admit().release(Outcome.TRANSIENT)
    registry.get("gpt").admit().release(Outcome.SUCCESS)
    assert failures_to_trip(registry) == 3
    registry.get("gpt").close()
    peers.hear([news(OPEN, 2, sender="b"), news(CLOSED, 3, sender="b")])
    assert failures_to_trip(registry) == 5


def test_an_older_word_than_the_last_is_not_heard(clock):
    registry = registry_with(clock)
    peers = Peers(registry, clock=clock)
    peers.hear([news(OPEN, 3), news(CLOSED, 4), news(OPEN, 3), news(OPEN, 1)])
    assert (peers.heard, peers.stale) == (2, 2)
    assert failures_to_trip(registry) == 5


def test_it_is_told_when_it_begins_and_not_with_each_opening_after(clock, sink):
    registry = registry_with(clock)
    peers = Peers(registry, clock=clock, sink=sink)
    peers.hear([news(), news(), news(HALF_OPEN, 2, left_s=0.0), news(OPEN, 3), news(sender="b")])
    (told,) = sink.of(MetricRecorded)
    assert told.metric == "breaker_open_at_peer_s"
    assert told.value == 7.0
    assert told.labels == {"breaker": "gpt", "sender": "a", "generation": 1}
    peers.hear([news(CLOSED, 4), news(CLOSED, 2, sender="b"), news(OPEN, 5)])
    assert len(sink.of(MetricRecorded)) == peers.sensitised == 2


def test_what_a_breaker_found_out_itself_outweighs_what_it_was_told(clock):
    registry = registry_with(clock)
    Peers(registry, clock=clock).hear([news(left_s=30.0)])
    registry.get("gpt").open()
    registry.get("gpt").close()
    assert failures_to_trip(registry) == 5


@pytest.mark.parametrize("state", [OPEN, HALF_OPEN])
def test_a_breaker_that_is_not_closed_finds_out_for_itself(clock, sink, state):
    registry = registry_with(clock)
    breaker = registry.get("gpt")
    breaker.open()
    if state is HALF_OPEN:
        clock.advance(31.0)
        probe = breaker.admit()
    peers = Peers(registry, clock=clock, sink=sink)
    peers.hear([news(left_s=30.0)])
    assert breaker.state is state
    assert sink.of(MetricRecorded) == []
    if state is HALF_OPEN:
        probe.release(Outcome.SUCCESS)


def test_a_breaker_that_is_made_later_is_told_then(clock):
    registry = registry_with(clock, max_size=2)
    peers = Peers(registry, clock=clock)
    peers.hear([news(name="x"), news(name="y"), news(name="z")])
    clock.advance(5.0)
    assert failures_to_trip(registry, "x") == 5, "three were heard of and two are remembered"
    assert failures_to_trip(registry, "z") == 3
    clock.advance(5.0)
    assert failures_to_trip(registry, "y") == 5


def test_what_opens_on_the_word_of_a_peer_is_second_hand_until_it_closes(clock):
    registry = registry_with(clock)
    breaker = registry.get("gpt")
    peers = Peers(registry, clock=clock)
    assert failures_to_trip(registry) == 5
    assert not breaker.snapshot().is_second_hand
    breaker.close()
    peers.hear([news()])
    assert failures_to_trip(registry) == 3
    assert breaker.snapshot().is_second_hand
    clock.advance(31.0)
    probe = breaker.admit()
    assert breaker.snapshot().is_second_hand, "half open"
    probe.release(Outcome.TRANSIENT)
    assert breaker.state is OPEN
    assert breaker.snapshot().is_second_hand, "a probe failed, long after the word of the peer"
    breaker.close()
    assert not breaker.snapshot().is_second_hand
    assert failures_to_trip(registry) == 5
    assert not breaker.snapshot().is_second_hand


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(CircuitState), st.integers(0, 5), st.floats(-40, 40)),
        max_size=30,
    )
)
def test_whatever_peers_say_nothing_opens_and_failures_stay_between_half_and_all(said):
    clock = FakeClock()
    registry = registry_with(clock)
    peers = Peers(registry, clock=clock)
    for sender, state, generation, left_s in said:
        peers.hear([news(state, generation, left_s=left_s, sender=sender)])
        assert registry.get("gpt").state is CLOSED
    assert failures_to_trip(registry) in {3, 5}


def refused_share(processes, *, seed, is_shared):
    """The calls refused in two minutes by processes that each make 50 calls/s to one target, 60 % of which fail."""
    clock, rng = FakeClock(), random.Random(seed)
    registries = [BreakerRegistry(CircuitBreakerConfig.sequential(), clock) for _ in range(processes)]
    breakers = [registry.get("gpt") for registry in registries]
    for number, breaker in enumerate(breakers):
        breaker._random.seed(seed * 100 + number)
    peers = [Peers(registry, clock=clock) for registry in registries]
    for tick in range(6000):
        clock.advance(0.02)
        for breaker in breakers:
            with suppress(BreakerOpenError):
                breaker.admit().release(Outcome.TRANSIENT if rng.random() < 0.6 else Outcome.SUCCESS)
        if is_shared and tick % 50 == 0:
            told = [news_of(breaker.snapshot(), sender=str(number)) for number, breaker in enumerate(breakers)]
            for number, each in enumerate(peers):
                each.hear(entry for entry in told if entry is not None and entry.sender != str(number))
    return sum(breaker.statistics().rejected for breaker in breakers) / (6000 * processes)


def test_processes_that_share_a_half_broken_target_do_not_keep_each_other_from_calling_it():
    alone = [refused_share(8, seed=seed, is_shared=False) for seed in range(4)]
    shared = [refused_share(8, seed=seed, is_shared=True) for seed in range(4)]
    # By half the height of the score, or by telling on what was heard, it is 0.2 and more.
    assert mean(shared) - mean(alone) < 0.1, (alone, shared)


def test_memory_of_peers_is_bounded(clock):
    peers = Peers(registry_with(clock), clock=clock)
    peers.hear([news(name=str(number)) for number in range(3000)])
    assert len(peers._words) == 2000


# The task that listens


class Script:
    """A source that does what the test says, one step each time it is asked."""

    mode = "listening"

    def __init__(self, *steps):
        self.steps = list(steps)
        self.asked = 0

    async def listen(self, hear):
        self.asked += 1
        step = self.steps.pop(0) if self.steps else "hang"
        if step == "dead":
            raise ConnectionError("no way there")
        hear([] if step in ("hang", "lost") else [step])
        if step != "lost":
            await asyncio.Event().wait()


async def turns(count=5):
    for _ in range(count):
        await asyncio.sleep(0)


async def test_news_reach_the_breakers(clock):
    registry = registry_with(clock)
    source = Script(news())
    async with PeerListener(source, Peers(registry, clock=clock), clock=clock) as listener:
        await turns()
        assert listener.statistics().mode == "listening"
        assert failures_to_trip(registry) == 3
    assert listener.statistics().mode == "closed"
    assert (listener.statistics().heard, listener.statistics().sensitised) == (1, 1)


@pytest.mark.fault
async def test_a_source_that_is_away_is_asked_again_after_growing_random_pauses(quick_clock):
    source = Script(*["dead"] * 8, news())
    registry = registry_with(quick_clock)
    async with PeerListener(source, Peers(registry, clock=quick_clock), clock=quick_clock, seed=1) as listener:
        await turns(1)
        assert listener.statistics().mode == "away"
        await turns(60)
        assert listener.statistics().mode == "listening"
    slept = quick_clock.slept
    assert len(slept) == listener.statistics().failures == 8
    for pause, longest in zip(slept, [2, 4, 8, 16, 30, 30, 30, 30], strict=True):
        assert longest / 2 <= pause <= longest
    assert len(set(slept)) == 8
    assert listener.statistics().last_error == "ConnectionError: no way there"
    assert failures_to_trip(registry) == 3


async def test_pauses_are_short_again_after_it_was_there(quick_clock):
    source = Script("dead", "dead", "dead", "lost")
    async with PeerListener(source, Peers(registry_with(quick_clock)), clock=quick_clock):
        await turns(60)
    assert len(quick_clock.slept) == 4
    assert quick_clock.slept[2] >= 4
    assert quick_clock.slept[3] <= 2


@pytest.mark.parametrize("step", ["hang", "dead"])
async def test_close_ends_the_task_wherever_it_waits(clock, step):
    before = asyncio.all_tasks()
    for passed in range(6):
        listener = PeerListener(Script(*[step] * 9), Peers(registry_with(clock), clock=clock), clock=clock)
        await listener.open()
        await listener.open()
        await turns(passed)
        await listener.close()
        await listener.close()
        assert asyncio.all_tasks() == before


async def test_who_is_cancelled_while_closing_leaves_no_task(clock):
    class Slow(Script):
        async def listen(self, hear):
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                await asyncio.sleep(0)

    before = asyncio.all_tasks()
    listener = PeerListener(Slow(), Peers(registry_with(clock), clock=clock), clock=clock)
    await listener.open()
    await turns()
    closing = asyncio.ensure_future(listener.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert asyncio.all_tasks() == before


async def test_closed_is_closed(clock):
    source = Script()
    listener = PeerListener(source, Peers(registry_with(clock), clock=clock), clock=clock)
    await listener.close()
    await listener.open()
    await turns()
    assert source.asked == 0
