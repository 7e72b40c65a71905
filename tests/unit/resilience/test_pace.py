"""How fast waiting calls are let go."""

from __future__ import annotations

import contextlib

import pytest

from omninode.core.errors import AttemptTimeoutError
from omninode.resilience.breaker import CircuitBreaker
from omninode.resilience.circuit import CircuitBreakerConfig
from omninode.resilience.pace import Pace

pytestmark = pytest.mark.unit


@pytest.fixture
def pace(clock):
    return Pace(CircuitBreaker("b", CircuitBreakerConfig(failure_threshold=1000), clock=clock), clock=clock)


def let_go(pace) -> int:
    """How many may go at this moment."""
    gone = 0
    while gone < 100 and pace.may_go():
        gone += 1
    return gone


async def good():
    return None


async def bad():
    raise ConnectionError("no")


async def slow():
    raise AttemptTimeoutError("slow")


async def end(pace, func, times: int) -> None:
    for _ in range(times):
        with contextlib.suppress(ConnectionError, AttemptTimeoutError):
            await pace.listen(func)


async def test_successes_double_what_is_under_way(pace):
    assert let_go(pace) == 3
    await end(pace, good, 3)
    assert let_go(pace) == 6
    await end(pace, good, 6)
    assert let_go(pace) == 10


async def test_quick_failures_give_back_less_than_they_cost(pace):
    assert let_go(pace) == 3
    await end(pace, bad, 3)
    assert let_go(pace) == 1
    assert not pace.is_slow


async def test_after_slow_failures_a_success_gives_little_more_than_it_cost(pace):
    await end(pace, slow, 14)
    assert pace.is_slow
    assert let_go(pace) == 3
    await end(pace, good, 5)
    assert let_go(pace) == 6


async def test_with_nothing_under_way_one_goes_each_second(pace, clock):
    let_go(pace)
    clock.advance(2.0)
    assert let_go(pace) == 2


async def test_while_the_breaker_is_not_closed_it_alone_decides(clock):
    breaker = CircuitBreaker("b", clock=clock)
    pace = Pace(breaker, clock=clock)
    await end(pace, good, 20)
    breaker.open()
    assert let_go(pace) == 100
    breaker.close()
    assert let_go(pace) == 3


async def test_overload_begins_at_half_of_the_failures(pace):
    pace._slow_share = 0.5
    assert pace.is_slow
    pace._slow_share = 0.499
    assert not pace.is_slow


async def test_what_says_nothing_about_the_target_gives_its_token_back(pace):
    async def ours():
        raise TypeError("bug")

    assert let_go(pace) == 3
    for _ in range(2):
        with pytest.raises(TypeError):
            await pace.listen(ours)
    assert let_go(pace) == 2


async def test_a_second_is_counted_once_and_a_clock_that_went_back_takes_nothing(pace, clock):
    assert let_go(pace) == 3
    clock.advance(-3600.0)
    assert let_go(pace) == 0
    clock.advance(0.5)
    assert let_go(pace) == 0
    clock.advance(0.5)
    assert let_go(pace) == 1
    clock.advance(1e6)
    assert let_go(pace) == 10


def test_it_takes_the_time_of_the_machine_when_given_none():
    assert Pace(CircuitBreaker("b")).may_go()
