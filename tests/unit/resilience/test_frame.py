"""The compiled frames: the same answers as the long way, and exact about who cancelled whom."""

from __future__ import annotations

import asyncio
import gc

import pytest

from omninode.core import current
from omninode.core.deadline import Deadline
from omninode.core.errors import AttemptTimeoutError, BreakerOpenError, DeadlineExceededError
from omninode.core.events import NullSink
from omninode.resilience import (
    BudgetConfig,
    BulkheadConfig,
    CircuitBreakerConfig,
    CircuitState,
    Policy,
    RetryConfig,
    Sequential,
)

pytestmark = pytest.mark.unit

RETRY = RetryConfig(max_retries=2, base_delay=0.0)
BREAKER = CircuitBreakerConfig(failure_threshold=3, jitter=0.0)
STACKS = {
    "nothing": {},
    "breaker": {"breaker": BREAKER},
    "sequential": {"breaker": CircuitBreakerConfig(detector=Sequential())},
    "retry": {"retry": RETRY},
    "retry and breaker": {"retry": RETRY, "breaker": BREAKER},
    "deadline": {"deadline_s": 60.0},
    "all": {"retry": RETRY, "breaker": BREAKER, "deadline_s": 60.0, "attempt_timeout_s": 5.0},
    "budget": {"retry": RetryConfig(max_retries=2, base_delay=0.0, budget=BudgetConfig()), "deadline_s": 60.0},
    "fallback": {"breaker": BREAKER, "fallback": lambda error, *args: "stand-in"},
}
# A bulkhead that never binds keeps a policy from being compiled, so that one can be compared with the other.
LONG_WAY = {"bulkhead": BulkheadConfig(max_concurrent=1000)}


class Script:
    """Ends as it is told, call after call."""

    def __init__(self, ends):
        self.ends = iter(ends)
        self.seen = []

    async def __call__(self, value="v"):
        scope = current.scope()
        self.seen.append((scope.retry_owner, scope.deadline and round(scope.deadline.remaining(), -1)))
        await asyncio.sleep(0)
        end = next(self.ends)
        if isinstance(end, BaseException):
            raise end
        return end


def ends():
    return [
        1, 2, ConnectionError("a"), 3, TypeError("bug"), 4, ConnectionError("b"), ConnectionError("c"), 5,
        asyncio.CancelledError(), 6, *[ConnectionError(str(n)) for n in range(20)], 7,
    ]  # fmt: skip


async def history(policy):
    script, told = Script(ends()), []
    for _ in range(14):
        try:
            told.append(await policy.call(script, value="x"))
        except BaseException as error:  # noqa: BLE001 - what ends a call is what is compared
            told.append((type(error).__name__, str(error), getattr(error, "__notes__", [])))
        assert current.scope() is current._NOWHERE
    return told, script.seen


@pytest.mark.parametrize("stack", STACKS)
async def test_a_frame_ends_every_call_as_the_long_way_does(stack, quick_clock):
    short, long = Policy("p", **STACKS[stack]), Policy("p", **STACKS[stack], **LONG_WAY)
    assert "call" in vars(short)
    assert "call" not in vars(long)
    assert await history(short) == await history(long)
    one, other = short.statistics(), long.statistics()
    assert (one.calls, one.succeeded, one.failed, one.degraded, one.cancelled) == (
        other.calls, other.succeeded, other.failed, other.degraded, other.cancelled,
    )  # fmt: skip
    assert one.retry == other.retry
    if one.breaker is not None:
        assert (one.breaker.successes, one.breaker.failures, one.breaker.neutral, one.breaker.rejected) == (
            other.breaker.successes, other.breaker.failures, other.breaker.neutral, other.breaker.rejected,
        )  # fmt: skip


async def test_events_are_the_same_either_way(sink, quick_clock):
    from omninode.testing.sink import RecordingSink

    other = RecordingSink()
    await history(Policy("p", **STACKS["all"], sink=sink))
    await history(Policy("p", **STACKS["all"], sink=other, **LONG_WAY))

    def told(events):
        return [(type(event).__name__, getattr(event, "attempt", 0), getattr(event, "outcome", "")) for event in events]

    assert told(sink.events) == told(other.events)
    assert len(sink.events) == 20


async def test_a_sink_that_forgets_costs_no_event():
    policy = Policy("p", retry=RETRY, sink=NullSink())
    await policy.call(asyncio.sleep, 0)
    assert policy.retry.tells_success is False


async def test_two_deadlines_in_one_tick_each_end_their_own_call():
    policy = Policy("p", deadline_s=0.05)
    tasks = [asyncio.ensure_future(policy.call(asyncio.sleep, 60)) for _ in range(2)]
    done, _ = await asyncio.wait(tasks)
    assert [type(task.exception()) for task in done] == [DeadlineExceededError] * 2


async def test_two_deadlines_of_one_task_in_one_tick_leave_it_uncancelled():
    one, two = Policy("one", deadline_s=0.02), Policy("two", deadline_s=0.02)
    with pytest.raises(DeadlineExceededError):
        await one.call(two.call, asyncio.sleep, 60)
    assert asyncio.current_task().cancelling() == 0
    assert await one.call(two.call, asyncio.sleep, 0, "again") == "again"


async def test_one_policy_inside_itself_keeps_both_limits():
    policy = Policy("p", attempt_timeout_s=0.02)
    with pytest.raises(AttemptTimeoutError):
        await policy.call(policy.call, asyncio.sleep, 60)
    assert asyncio.current_task().cancelling() == 0


async def test_a_cancellation_that_races_the_deadline_is_not_lost():
    policy = Policy("p", deadline_s=0.02)

    async def cancelled_by_both():
        try:
            await asyncio.sleep(60)
        finally:
            asyncio.current_task().cancel()

    task = asyncio.ensure_future(policy.call(cancelled_by_both))
    await asyncio.wait([task])
    assert task.cancelled()
    assert policy.statistics().cancelled == 1


async def test_a_cancelled_task_that_cleans_up_through_a_policy_still_has_its_deadline():
    policy, late = Policy("p", deadline_s=0.02), []

    async def work():
        try:
            await asyncio.sleep(60)
        finally:
            try:
                await policy.call(asyncio.sleep, 60)
            except DeadlineExceededError:
                late.append(True)

    task = asyncio.ensure_future(work())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert (task.cancelled(), late) == (True, [True])


async def test_an_answer_given_in_spite_of_the_deadline_stands():
    async def stubborn():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "all the same"

    assert await Policy("p", deadline_s=0.02).call(stubborn) == "all the same"
    assert asyncio.current_task().cancelling() == 0


async def test_asyncio_timeout_around_a_policy_keeps_its_own_meaning():
    policy = Policy("p", deadline_s=60.0, breaker=BREAKER)
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(0.01):
            await policy.call(asyncio.sleep, 60)
    assert not isinstance(caught.value, DeadlineExceededError)
    assert policy.statistics().breaker.neutral == 1


async def test_the_nearest_deadline_of_nested_policies_holds():
    inner, outer = Policy("inner", deadline_s=60.0), Policy("outer", deadline_s=5.0)

    async def remaining():
        return current.scope().deadline.remaining()

    assert await outer.call(inner.call, remaining) <= 5.0
    assert await inner.call(outer.call, remaining) <= 5.0


async def test_a_scope_asked_for_twice_is_the_same_and_gone_afterwards():
    async def twice():
        return current.scope() is current.scope()

    with current.entered(phase="p") as scope:
        assert await Policy("p", deadline_s=5.0).call(twice)
        assert current.scope() is scope


async def test_a_task_started_in_a_call_knows_its_deadline():
    async def child():
        return current.scope().deadline.remaining()

    async def parent():
        return await asyncio.create_task(child())

    assert 0 < await Policy("p", deadline_s=5.0).call(parent) <= 5.0


async def test_a_deadline_above_goes_the_long_way_and_holds():
    policy = Policy("p", deadline_s=60.0)
    with current.entered(deadline=Deadline.after(0.02)), pytest.raises(DeadlineExceededError):
        await policy.call(asyncio.sleep, 60)


async def test_retries_after_the_first_attempt_share_its_deadline(quick_clock):
    retry = RetryConfig(max_retries=100, base_delay=1.0, max_delay=1.0, jitter=False)
    policy = Policy("p", deadline_s=4.5, retry=retry, clock=quick_clock)

    async def down():
        raise ConnectionError("down")

    with pytest.raises(ConnectionError) as caught:
        await policy.call(down)
    assert "would pass the deadline" in caught.value.__notes__[0]
    assert quick_clock.slept == [1.0] * 4


async def test_an_opened_breaker_stops_the_retries_of_a_frame(quick_clock):
    policy = Policy("p", retry=RetryConfig(max_retries=9, base_delay=0.0), breaker=BREAKER, clock=quick_clock)

    async def down():
        raise ConnectionError("down")

    with pytest.raises(BreakerOpenError) as caught:
        await policy.call(down)
    assert isinstance(caught.value.__cause__, ConnectionError)
    assert policy.breaker.state is CircuitState.OPEN
    assert policy.statistics().retry.attempts == 3


def test_a_policy_serves_one_event_loop_after_another():
    policy = Policy("p", deadline_s=0.02)
    for _ in range(3):
        with pytest.raises(DeadlineExceededError):
            asyncio.run(policy.call(asyncio.sleep, 60))


async def test_a_coroutine_closed_half_way_gives_everything_back():
    policy = Policy("p", **STACKS["all"])
    coroutine = policy.call(asyncio.sleep, 60)
    coroutine.send(None)
    coroutine.close()
    del coroutine
    gc.collect()
    assert current.scope().deadline is None
    statistics = policy.statistics()
    assert (statistics.cancelled, statistics.breaker.neutral) == (1, 1)


@pytest.mark.performance
async def test_ten_thousand_calls_leave_no_timer_entry_behind():
    policy = Policy("p", deadline_s=60.0)
    await asyncio.gather(*[policy.call(asyncio.sleep, 0) for _ in range(10_000)])
    frame = vars(policy)["call"].__self__
    assert sum(len(due) for due in frame._wheel.due.values()) == 0
    assert len(frame._wheel.due) < 1000


async def test_one_policy_twice_in_one_step_keeps_both_limits():
    """Both take the frame, because the scope in between has no deadline; a task stands in a step only once."""
    policy = Policy("p", attempt_timeout_s=0.02)

    async def inner_hangs():
        assert current.scope().deadline is None
        await policy.call(asyncio.sleep, 60)

    with pytest.raises(AttemptTimeoutError):
        await policy.call(inner_hangs)
    assert asyncio.current_task().cancelling() == 0


async def test_a_quick_call_inside_another_of_its_step_leaves_the_outer_limit_standing():
    policy = Policy("p", attempt_timeout_s=0.05)

    async def quick_and_then_hang():
        assert current.scope().deadline is None
        assert await policy.call(asyncio.sleep, 0, "quick") == "quick"
        await asyncio.sleep(60)

    with pytest.raises(AttemptTimeoutError):
        await policy.call(quick_and_then_hang)
    assert asyncio.current_task().cancelling() == 0


async def test_a_late_caller_whom_another_late_one_cancels_is_cancelled():
    policy, tasks = Policy("p", deadline_s=0.02), []

    async def cancels(other):
        try:
            await asyncio.sleep(60)
        finally:
            tasks[other].cancel()

    tasks += [asyncio.ensure_future(policy.call(cancels, other)) for other in (1, 0)]
    await asyncio.wait(tasks)
    # The first to clean up is late; the second is late too, and cancelled from outside as well, which counts for more.
    assert sorted(task.cancelled() for task in tasks) == [False, True]
    late = next(task for task in tasks if not task.cancelled())
    assert isinstance(late.exception(), DeadlineExceededError)
    assert policy.statistics().cancelled == 1


async def test_calls_of_one_step_from_different_scopes_keep_their_own():
    policy = Policy("p", deadline_s=50.0)

    async def asked():
        await asyncio.sleep(0)
        scope = current.scope()
        return scope.phase, scope.deadline is not None and 0 < scope.deadline.remaining() <= 50.0

    async def caller(phase):
        with current.entered(phase=phase):
            return await policy.call(asked)

    phases = ["a", "b", "a", "c"] * 5
    assert await asyncio.gather(*map(caller, phases)) == [(phase, True) for phase in phases]
    assert await policy.call(asked) == (None, True)


async def test_a_clock_that_jumps_gives_each_call_the_whole_deadline(clock):
    policy = Policy("p", deadline_s=60.0, clock=clock)

    async def remaining():
        return current.scope().deadline.remaining()

    left = []
    for _ in range(3):
        left.append(await policy.call(remaining))
        clock.advance(3600.0)
    assert left == [60.0] * 3


async def test_a_first_attempt_and_its_retries_see_one_deadline():
    policy, ends = Policy("p", deadline_s=60.0, retry=RETRY), []

    async def flaky():
        ends.append(current.scope().deadline.at)
        if len(ends) < 3:
            raise ConnectionError("down")

    await policy.call(flaky)
    assert len(set(ends)) == 1


@pytest.mark.parametrize("stack", ["breaker", "retry", "all"])
async def test_what_a_function_does_to_its_keywords_is_its_own_affair(stack):
    policy = Policy("p", **STACKS[stack])

    async def greedy(**kwargs):
        kwargs["more"] = 1
        return kwargs

    assert await policy.call(greedy) == {"more": 1}
    assert await policy.call(greedy, a=1) == {"a": 1, "more": 1}
    assert await policy.call(greedy) == {"more": 1}


async def test_successes_pay_into_the_budget_until_it_is_full():
    retry = RetryConfig(max_retries=1, budget=BudgetConfig(size=20.0, start=18.0))
    policy, tokens = Policy("p", retry=retry, deadline_s=60.0), []
    for _ in range(4):
        await policy.call(asyncio.sleep, 0)
        tokens.append(policy.statistics().retry.budget_tokens)
    assert tokens == [19.0, 20.0, 20.0, 20.0]
