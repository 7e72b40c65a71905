"""The balancer: who is preferred, and what it learns."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from omninode.resilience.balancer import Balancer, Candidate
from omninode.testing.clock import FakeClock

pytestmark = pytest.mark.unit


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def balancer(clock) -> Balancer:
    return Balancer(clock=clock, seed=1)


def answered(balancer, clock, name: str, seconds: float, *, failed: bool = False) -> None:
    with balancer.under_way(name) as trip:
        clock.advance(seconds)
        trip.has_failed = failed


def cancelled_midway(balancer, clock) -> None:
    with balancer.under_way("a"):
        clock.advance(60.0)
        raise asyncio.CancelledError


def shares(balancer, *candidates: Candidate, draws: int = 3000) -> dict[str, float]:
    first = Counter(balancer.order(candidates)[0].name for _ in range(draws))
    return {entry.name: first[entry.name] / draws for entry in candidates}


def test_equals_share_alike(balancer):
    got = shares(balancer, *(Candidate(name=name) for name in "abc"))
    assert all(0.30 < share < 0.37 for share in got.values())


def test_the_slower_of_two_comes_second(balancer, clock):
    answered(balancer, clock, "a", 2.0)
    answered(balancer, clock, "b", 0.5)
    assert [entry.name for entry in balancer.order([Candidate(name="a"), Candidate(name="b")])] == ["b", "a"]


def test_the_busier_of_two_comes_second(balancer):
    with balancer.under_way("a"), balancer.under_way("a"):
        assert shares(balancer, Candidate(name="a"), Candidate(name="b"))["b"] == 1.0
    assert balancer.statistics()[0].in_flight == 0


def test_twice_the_weight_carries_twice_the_load(balancer):
    heavy, light = Candidate(name="heavy", weight=2), Candidate(name="light")
    with balancer.under_way("heavy"):
        assert balancer.score(heavy) == balancer.score(light)


def test_weight_zero_stands_by_however_fast_it_is(balancer, clock):
    answered(balancer, clock, "spare", 0.01)
    answered(balancer, clock, "a", 9.0)
    order = balancer.order([Candidate(name="spare", weight=0), Candidate(name="a")])
    assert [entry.name for entry in order] == ["a", "spare"]


def test_a_slow_answer_counts_at_once_and_fades_slowly(balancer, clock):
    answered(balancer, clock, "a", 0.1)
    answered(balancer, clock, "a", 5.0)
    assert balancer.latency_s("a") == 5.0
    answered(balancer, clock, "a", 1.0)
    assert 4.0 < balancer.latency_s("a") < 5.0
    clock.advance(10.0)
    answered(balancer, clock, "a", 1.0)
    assert 1.0 < balancer.latency_s("a") < 3.0


def test_failing_fast_does_not_attract(balancer, clock):
    answered(balancer, clock, "broken", 0.001, failed=True)
    answered(balancer, clock, "sound", 0.5)
    assert shares(balancer, Candidate(name="broken"), Candidate(name="sound"))["sound"] == 1.0


def test_the_unknown_is_taken_for_average(balancer, clock):
    for name, seconds in (("a", 1.0), ("b", 3.0), ("c", 9.0)):
        answered(balancer, clock, name, seconds)
    assert balancer.latency_s("fresh") == 3.0


def test_after_a_long_silence_a_slow_one_is_tried_again(balancer, clock):
    answered(balancer, clock, "slow", 30.0)
    answered(balancer, clock, "fast", 1.0)
    assert balancer.latency_s("slow") == 30.0
    clock.advance(200.0)
    assert balancer.latency_s("slow") == pytest.approx(1.0, abs=0.01)


def test_a_cancelled_call_teaches_nothing(balancer, clock):
    with pytest.raises(asyncio.CancelledError):
        cancelled_midway(balancer, clock)
    (known,) = balancer.statistics()
    assert (known.latency_ms, known.in_flight) == (None, 0)
