"""Calls that wait for a breaker, and calls that do not."""

from __future__ import annotations

import asyncio

import pytest

from omninode.core import current
from omninode.core.deadline import Deadline
from omninode.core.errors import AttemptTimeoutError, BreakerOpenError, InvalidArgumentError, ThrottledError
from omninode.core.events import MetricRecorded
from omninode.resilience import CircuitBreaker, CircuitBreakerConfig, Park, Policy, RetryConfig
from omninode.resilience.pace import Pace
from omninode.resilience.parking import Parking

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
        await clock.sleep(0.1)

    tasks = [asyncio.ensure_future(policy.call(work)) for _ in range(40)]
    await asyncio.sleep(0)
    policy.breaker.close()
    clock.advance(2.0)
    for _ in range(5):
        await asyncio.sleep(0)
    # Three, and one for each second without an attempt.
    assert len(ran) == 5
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


# A parking place by itself, with nothing drawn at random


class Least:
    """Draws the least of every range, and writes the ranges down."""

    def __init__(self):
        self.ranges = []

    def uniform(self, low, high):
        self.ranges.append((low, high))
        return low


def place(clock, **settings):
    parking = Parking("p", Park(**settings), paces=[pace(clock)], clock=clock)
    parking._random = Least()
    return parking


def pace(clock):
    """That of a closed breaker."""
    return Pace(CircuitBreaker("b", CircuitBreakerConfig(failure_threshold=1000), clock=clock), clock=clock)


def refusing(times, *, retry_after_s=1.0):
    """A function that the breaker refuses so often, and that answers then."""
    left = iter(range(times))

    async def call():
        if next(left, None) is not None:
            raise BreakerOpenError("open", breaker="b", retry_after_s=retry_after_s)
        return "answer"

    return call


async def ended(parking, error, times=1):
    async def fail():
        raise error

    for _ in range(times):
        with pytest.raises(type(error)):
            await parking._paces[0].listen(fail)


@pytest.mark.parametrize(("deadline_s", "is_parked"), [(1.25, True), (1.249, False)])
async def test_a_call_is_parked_when_the_wait_and_the_margin_just_fit(quick_clock, deadline_s, is_parked):
    # Numbers without a rounding: a second to wait and a quarter to spare.
    parking = place(quick_clock, margin_s=0.25)
    with current.entered(deadline=Deadline(1000.0 + deadline_s, quick_clock)):
        if is_parked:
            assert await parking.call(refusing(1, retry_after_s=0.95)) == "answer"
        else:
            with pytest.raises(BreakerOpenError):
                await parking.call(refusing(1, retry_after_s=0.95))
    assert quick_clock.slept == [1.0] * is_parked
    # Less is drawn from where less is left.
    assert parking._random.ranges == [(0.05, pytest.approx(0.05))] * is_parked
    statistics = parking.statistics()
    assert (statistics.parked, statistics.most_parked, statistics.waits, statistics.refused) == (
        0, is_parked, is_parked, not is_parked,
    )  # fmt: skip


async def test_a_call_waits_as_often_as_it_is_refused(quick_clock):
    parking = place(quick_clock)
    with current.entered(deadline=Deadline.after(60.0, clock=quick_clock)):
        assert await parking.call(refusing(3)) == "answer"
    assert (parking.statistics().waits, parking.statistics().most_parked) == (3, 1)


async def test_it_is_paced_after_fourteen_slow_failures_and_not_after_thirteen(quick_clock):
    parking = place(quick_clock)
    await ended(parking, AttemptTimeoutError("slow"), 13)
    assert not parking.statistics().is_paced
    await ended(parking, ThrottledError("busy", status=429))
    assert parking.statistics().is_paced


async def test_quick_failures_end_the_pace_and_nothing_else_does(quick_clock):
    parking = place(quick_clock)
    await ended(parking, AttemptTimeoutError("slow"), 14)
    await ended(parking, TypeError("our fault"), 20)
    await parking._paces[0].listen(answer)
    assert parking.statistics().is_paced
    await ended(parking, ConnectionError("quick"))
    assert not parking.statistics().is_paced


async def test_three_may_go_at_first_ten_at_most_and_six_more_for_five_successes(quick_clock):
    parking = place(quick_clock)
    await ended(parking, AttemptTimeoutError("slow"), 30)

    def gone():
        count = 0
        while parking._may_go():
            count += 1
        return count

    assert gone() == 3
    for _ in range(5):
        await parking._paces[0].listen(answer)
    assert gone() == 6
    for _ in range(100):
        await parking._paces[0].listen(answer)
    assert gone() == 10


@pytest.mark.parametrize(("deadline_s", "looks"), [(2.0, 8), (1.0, 4)])
async def test_who_finds_no_token_looks_again_and_goes_with_one_or_when_there_is_no_time_to(
    quick_clock, deadline_s, looks
):
    parking = place(quick_clock)
    assert [parking._may_go() for _ in range(4)] == [True, True, True, False]
    with current.entered(deadline=Deadline.after(deadline_s, clock=quick_clock)):
        assert await parking.call(refusing(1, retry_after_s=0.2)) == "answer"
    # From 0.25 s on every 0.1 s, until a second has given a token, or as long as 0.3 s would be left after it.
    assert quick_clock.slept == [0.25] + [0.1] * looks


async def test_after_an_overload_who_got_no_turn_in_time_is_refused_and_not_sent_late(quick_clock):
    parking = place(quick_clock)
    await ended(parking, AttemptTimeoutError("slow"), 14)
    assert [parking._may_go() for _ in range(4)] == [True, True, True, False]
    asked = []

    async def call():
        asked.append(quick_clock.monotonic())
        return await refusing(1, retry_after_s=0.2)()

    with (
        current.entered(deadline=Deadline.after(1.0, clock=quick_clock)),
        pytest.raises(BreakerOpenError, match="open"),
    ):
        await parking.call(call)
    assert asked == [1000.0]
    assert (parking.statistics().refused, parking.statistics().parked) == (1, 0)


async def test_a_newcomer_who_gets_no_turn_behind_the_line_after_an_overload_is_told_so(quick_clock):
    parking = place(quick_clock)
    await ended(parking, AttemptTimeoutError("slow"), 14)
    assert [parking._may_go() for _ in range(4)] == [True, True, True, False]
    parking._parked = 1  # somebody waits before us
    told = pytest.raises(BreakerOpenError, match=r"p: behind 1 calls .* no turn came in time")
    with current.entered(deadline=Deadline.after(1.0, clock=quick_clock)), told:
        await parking.call(refusing(0))
    assert parking.statistics().refused == 1


async def test_one_of_several_paces_is_enough(quick_clock):
    parking = Parking("p", Park(), paces=[pace(quick_clock), pace(quick_clock)], clock=quick_clock)
    assert [parking._may_go() for _ in range(7)] == [True] * 6 + [False]


async def test_a_newcomer_stands_behind_those_who_wait_for_a_token(clock):
    parking, order = Parking("p", Park(), paces=[pace(clock)], clock=clock), []

    async def arrive(name, times):
        async def note():
            order.append(name)

        with current.entered(deadline=Deadline.after(60.0, clock=clock)):
            await parking.call(refusing(times, retry_after_s=0.1))
            await note()

    first = asyncio.ensure_future(arrive("first", 1))
    await asyncio.sleep(0)
    while parking._may_go():
        pass
    second = asyncio.ensure_future(arrive("second", 0))
    await asyncio.sleep(0)
    assert (order, parking.statistics().parked) == ([], 2)
    while len(order) < 2:
        clock.advance(0.3)
        await asyncio.sleep(0)
    await asyncio.gather(first, second)
    assert parking.statistics().parked == 0


async def test_an_isolated_breaker_is_not_waited_for_whatever_the_deadline(quick_clock):
    parking = place(quick_clock)
    with current.entered(deadline=Deadline.after(1e6, clock=quick_clock)), pytest.raises(BreakerOpenError):
        await parking.call(refusing(1, retry_after_s=None))
    assert parking.statistics().refused == 1


async def test_the_wait_is_told_with_the_run_it_was_in(quick_clock, sink):
    parking = Parking("p", Park(), paces=[pace(quick_clock)], clock=quick_clock, sink=sink)
    parking._random = Least()
    with current.entered(deadline=Deadline.after(60.0, clock=quick_clock), phase="phase"):
        await parking.call(refusing(1))
    (event,) = sink.events
    assert (event.metric, event.value, event.phase) == ("park_wait_ms", pytest.approx(1050.0), "phase")
    assert event.labels == {"policy": "p"}
