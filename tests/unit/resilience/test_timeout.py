"""An attempt's time, and whose fault its end is. The lengths are real but tiny; nothing is asserted about them."""

from __future__ import annotations

import asyncio

import pytest

from omninode.core import current
from omninode.core.deadline import Deadline
from omninode.core.errors import AttemptTimeoutError, DeadlineExceededError
from omninode.resilience import AttemptTimeout, Outcome, classify

pytestmark = pytest.mark.unit


async def test_a_call_in_time_returns_its_value():
    assert await AttemptTimeout("t", 60.0).call(asyncio.sleep, 0, "v") == "v"


async def test_a_late_call_is_cancelled_and_raises_for_the_attempt():
    ended = []

    async def hang():
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    with pytest.raises(AttemptTimeoutError, match=r"no answer within 0\.01 s"):
        await AttemptTimeout("t", 0.01).call(hang)
    assert ended == [True]
    assert asyncio.current_task().cancelling() == 0


async def test_a_nearer_deadline_is_told_apart_and_not_blamed_on_the_target():
    with current.entered(deadline=Deadline.after(0.01)), pytest.raises(DeadlineExceededError) as caught:
        await AttemptTimeout("t", 60.0).call(asyncio.sleep, 60)
    assert classify(caught.value) is Outcome.NEUTRAL


async def test_a_target_that_hangs_for_most_of_its_time_is_blamed():
    with current.entered(deadline=Deadline.after(0.03)), pytest.raises(DeadlineExceededError) as caught:
        await AttemptTimeout("t", 0.04).call(asyncio.sleep, 60)
    assert classify(caught.value) is Outcome.TIMEOUT


async def test_a_cancellation_from_outside_stays_one():
    task = asyncio.ensure_future(AttemptTimeout("t", 60.0).call(asyncio.sleep, 60))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_a_cancellation_that_meets_the_alarm_is_not_lost():
    async def cancelled_by_both():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            asyncio.current_task().cancel()
            raise

    task = asyncio.ensure_future(AttemptTimeout("t", 0.01).call(cancelled_by_both))
    await asyncio.wait([task])
    assert task.cancelled()


async def test_an_answer_given_in_spite_of_the_alarm_stands():
    async def stubborn():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "all the same"

    assert await AttemptTimeout("t", 0.01).call(stubborn) == "all the same"
    assert asyncio.current_task().cancelling() == 0


async def test_an_error_raised_in_spite_of_the_alarm_leaves_the_task_uncancelled():
    async def sour():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError as error:
            raise RuntimeError("while cleaning up") from error

    with pytest.raises(RuntimeError):
        await AttemptTimeout("t", 0.01).call(sour)
    assert asyncio.current_task().cancelling() == 0


async def test_two_limits_in_one_task_at_one_moment_each_fire_once():
    inner, outer = AttemptTimeout("inner", 0.01), AttemptTimeout("outer", 0.01)
    with pytest.raises(AttemptTimeoutError):
        await outer.call(inner.call, asyncio.sleep, 60)
    assert asyncio.current_task().cancelling() == 0
    assert await inner.call(asyncio.sleep, 0, "again") == "again"


async def test_many_calls_due_together_share_a_timer_and_all_end():
    limit = AttemptTimeout("t", 0.02)
    tasks = [asyncio.ensure_future(limit.call(asyncio.sleep, 60)) for _ in range(200)]
    done, _ = await asyncio.wait(tasks)
    assert {type(task.exception()) for task in done} == {AttemptTimeoutError}


def test_one_limit_serves_one_event_loop_after_another():
    limit = AttemptTimeout("t", 0.01)
    for _ in range(2):
        with pytest.raises(AttemptTimeoutError):
            asyncio.run(limit.call(asyncio.sleep, 60))
