"""A cap that neither loses permits nor makes any."""

from __future__ import annotations

import asyncio
import random

import pytest

from omninode.core import current
from omninode.core.deadline import Deadline
from omninode.core.errors import BulkheadFullError, DeadlineExceededError, DefectError, InvalidArgumentError
from omninode.resilience import Bulkhead, BulkheadConfig

pytestmark = pytest.mark.unit


async def settle():
    for _ in range(5):
        await asyncio.sleep(0)


async def test_no_more_than_the_cap_run_at_once():
    bulkhead = Bulkhead("b", BulkheadConfig(max_concurrent=3))
    running = most = 0

    async def work():
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    await asyncio.gather(*[bulkhead.call(work) for _ in range(50)])
    assert most == 3
    assert (bulkhead.statistics().admitted, bulkhead.statistics().running) == (50, 0)


async def test_the_line_is_first_come_first_served():
    bulkhead = Bulkhead("b", BulkheadConfig(max_concurrent=1))
    served = []

    async def work(number):
        served.append(number)
        await asyncio.sleep(0)

    await asyncio.gather(*[bulkhead.call(work, number) for number in range(20)])
    assert served == list(range(20))


async def test_a_newcomer_does_not_overtake_a_waiter():
    bulkhead = Bulkhead("b", BulkheadConfig(max_concurrent=1))
    await bulkhead.acquire()
    waiter = asyncio.ensure_future(bulkhead.acquire())
    await settle()
    bulkhead.release()
    newcomer = asyncio.ensure_future(bulkhead.acquire())
    await settle()
    assert (waiter.done(), newcomer.done()) == (True, False)
    bulkhead.release()
    await newcomer


async def test_a_full_line_refuses_at_once():
    bulkhead = Bulkhead("b", BulkheadConfig(max_concurrent=1, max_queue=1))
    await bulkhead.acquire()
    waiter = asyncio.ensure_future(bulkhead.acquire())
    await settle()
    with pytest.raises(BulkheadFullError, match="'b': all 1 permits are taken and 1 callers wait"):
        await bulkhead.acquire()
    assert bulkhead.statistics().rejected == 1
    bulkhead.release()
    await waiter


async def test_a_wait_ends_with_its_timeout_and_leaves_the_line():
    bulkhead = Bulkhead("b", BulkheadConfig(max_concurrent=1, queue_timeout_s=0.01))
    await bulkhead.acquire()
    with pytest.raises(BulkheadFullError, match=r"within 0\.01 s"):
        await bulkhead.acquire()
    assert (bulkhead.statistics().waiting, bulkhead.statistics().timed_out) == (0, 1)
    bulkhead.release()
    assert bulkhead.statistics().running == 0


async def test_a_wait_ends_with_the_deadline():
    bulkhead = Bulkhead("b", BulkheadConfig(max_concurrent=1))
    await bulkhead.acquire()
    with current.entered(deadline=Deadline.after(0.01)), pytest.raises(DeadlineExceededError):
        await bulkhead.acquire()


async def test_a_waiter_cancelled_as_its_permit_arrives_hands_it_on():
    bulkhead = Bulkhead("b", BulkheadConfig(max_concurrent=1))
    await bulkhead.acquire()
    first, second = (asyncio.ensure_future(bulkhead.acquire()) for _ in range(2))
    await settle()
    bulkhead.release()
    first.cancel()
    await settle()
    assert first.cancelled()
    assert second.done()
    assert not second.cancelled()
    bulkhead.release()
    assert bulkhead.statistics().running == 0


@pytest.mark.parametrize("seed", range(10))
async def test_no_permit_is_lost_whoever_is_cancelled_when(seed):
    rng = random.Random(seed)
    bulkhead = Bulkhead("b", BulkheadConfig(max_concurrent=3, max_queue=1000))
    running = most = 0

    async def work():
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            await asyncio.sleep(0)
        finally:
            running -= 1

    tasks = [asyncio.ensure_future(bulkhead.call(work)) for _ in range(60)]
    while not all(task.done() for task in tasks):
        rng.choice(tasks).cancel()
        await asyncio.sleep(0)
    assert most == 3
    assert all(task.cancelled() or task.exception() is None for task in tasks)
    statistics = bulkhead.statistics()
    assert (statistics.running, statistics.waiting) == (0, 0)
    for _ in range(3):
        await bulkhead.acquire()
    assert bulkhead.statistics().running == 3


async def test_a_permit_released_twice_is_a_defect():
    bulkhead = Bulkhead("b")
    await bulkhead.acquire()
    bulkhead.release()
    with pytest.raises(DefectError):
        bulkhead.release()


async def test_a_deadline_that_comes_with_the_timeout_of_the_line_is_the_one_named(clock):
    bulkhead = Bulkhead("b", BulkheadConfig(max_concurrent=1, queue_timeout_s=0.01))
    await bulkhead.acquire()
    with current.entered(deadline=Deadline(1000.01, clock)):
        bulkhead.config = BulkheadConfig(queue_timeout_s=Deadline(1000.01, clock).remaining())
        with pytest.raises(DeadlineExceededError):
            await bulkhead.acquire()
    with current.entered(deadline=Deadline(1000.02, clock)), pytest.raises(BulkheadFullError):
        await bulkhead.acquire()


async def test_who_waits_is_counted_and_remembered():
    bulkhead = Bulkhead("b", BulkheadConfig(max_concurrent=2))
    await bulkhead.acquire()
    await bulkhead.acquire()
    waiters = [asyncio.ensure_future(bulkhead.acquire()) for _ in range(3)]
    await settle()
    statistics = bulkhead.statistics()
    assert (statistics.running, statistics.waiting, statistics.most_waiting, statistics.admitted) == (2, 3, 3, 2)
    for _ in waiters:
        bulkhead.release()
    await asyncio.gather(*waiters)
    bulkhead.release()
    statistics = bulkhead.statistics()
    assert (statistics.running, statistics.waiting, statistics.most_waiting, statistics.admitted) == (1, 0, 3, 5)
    assert (statistics.rejected, statistics.timed_out, statistics.name) == (0, 0, "b")


async def test_a_permit_that_is_handed_on_is_counted_for_who_has_it_in_the_end():
    bulkhead = Bulkhead("b", BulkheadConfig(max_concurrent=1))
    await bulkhead.acquire()
    first = asyncio.ensure_future(bulkhead.acquire())
    await settle()
    bulkhead.release()
    first.cancel()
    await settle()
    assert (bulkhead.statistics().admitted, bulkhead.statistics().running) == (1, 0)


async def test_a_waiter_that_was_given_its_permit_does_not_time_out():
    bulkhead = Bulkhead("b", BulkheadConfig(max_concurrent=1, queue_timeout_s=60.0))
    await bulkhead.acquire()
    waiter = asyncio.ensure_future(bulkhead.acquire())
    await settle()
    place = next(iter(bulkhead._waiting))
    bulkhead.release()
    bulkhead._expire(place, BulkheadFullError("late"))
    await waiter
    assert (bulkhead.statistics().timed_out, bulkhead.statistics().running) == (0, 1)


async def test_the_last_place_in_line_is_a_place():
    bulkhead = Bulkhead("b", BulkheadConfig(max_concurrent=1, max_queue=2))
    await bulkhead.acquire()
    waiters = [asyncio.ensure_future(bulkhead.acquire()) for _ in range(3)]
    await settle()
    assert [task.done() for task in waiters] == [False, False, True]
    assert isinstance(waiters[2].exception(), BulkheadFullError)
    for _ in range(2):
        bulkhead.release()
    await asyncio.gather(*waiters[:2])


@pytest.mark.parametrize("permits", [0, -1, True, 1.5])
def test_a_size_that_is_none_is_named(permits):
    with pytest.raises(InvalidArgumentError, match="permits"):
        Bulkhead("b").resize(permits)


async def test_made_larger_it_lets_as_many_in_as_there_are_permits():
    bulkhead = Bulkhead("b", BulkheadConfig(max_concurrent=1))
    await bulkhead.acquire()
    waiters = [asyncio.ensure_future(bulkhead.acquire()) for _ in range(3)]
    await settle()
    bulkhead.resize(3)
    await settle()
    assert [task.done() for task in waiters] == [True, True, False]
    bulkhead.release()
    await waiters[2]
    assert bulkhead.statistics().running == 3
    bulkhead.resize(1)
    for _ in range(3):
        bulkhead.release()
    with pytest.raises(DefectError, match="released twice"):
        bulkhead.release()
    assert bulkhead.statistics().running == 0


async def test_a_wait_that_is_over_time_and_cancelled_at_once_gives_back_nothing_it_had_not():
    bulkhead = Bulkhead("b", BulkheadConfig(max_concurrent=1))
    await bulkhead.acquire()
    waiter = asyncio.ensure_future(bulkhead.acquire())
    await settle()
    bulkhead._expire(next(iter(bulkhead._waiting)), BulkheadFullError("late"))
    waiter.cancel()
    await settle()
    assert waiter.cancelled()
    assert (bulkhead.statistics().running, bulkhead.statistics().admitted) == (1, 1)


async def test_whatever_a_function_returns_is_awaited_where_it_can_be():
    bulkhead = Bulkhead("b")
    answer = asyncio.get_running_loop().create_future()
    answer.set_result("from a future")
    assert await bulkhead.call(lambda: answer) == "from a future"
    assert await bulkhead.call(lambda: "plain") == "plain"
    assert await bulkhead.call(asyncio.sleep, 0, "from a coroutine") == "from a coroutine"


@pytest.mark.parametrize("config", [BulkheadConfig(max_concurrent=1, max_queue=0), BulkheadConfig(max_concurrent=1, queue_timeout_s=0.001)])  # fmt: skip
async def test_refusals_and_waits_over_time_are_told_without_a_clock_of_its_own(sink, config):
    bulkhead = Bulkhead("b", config, sink=sink)
    await bulkhead.acquire()
    with pytest.raises(BulkheadFullError):
        await bulkhead.acquire()
    assert [(event.metric, event.value) for event in sink.events] == [("rejected_count", 1.0)]
