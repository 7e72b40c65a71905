"""What a caller of a retry manager can rely on."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omninode.core import current
from omninode.core.deadline import Deadline
from omninode.core.errors import (
    AuthenticationError,
    DeadlineExceededError,
    InvalidArgumentError,
    PoolExhaustedError,
    ThrottledError,
)
from omninode.core.events import AttemptFinished, RetryScheduled
from omninode.core.ids import uuid7
from omninode.resilience import (
    BudgetConfig,
    CallRecord,
    Outcome,
    RetryBudget,
    RetryConfig,
    RetryManager,
    execute_with_retry,
)
from omninode.resilience.backoff import asked_wait_s, backoff_bound_s, draw_wait_s, parse_retry_after

pytestmark = pytest.mark.unit


class Flaky:
    """Fails with each of `errors` in turn, then answers."""

    def __init__(self, *errors):
        self.errors = list(errors)
        self.calls = 0

    async def __call__(self, value="ok"):
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return value


async def always_down():
    raise ConnectionError("down")


async def test_a_call_that_recovers_returns_its_value(quick_clock):
    manager = RetryManager(clock=quick_clock)
    flaky = Flaky(ConnectionError(), TimeoutError())
    assert await manager.execute(flaky, value="v") == "v"
    statistics = manager.statistics()
    assert (statistics.calls, statistics.attempts, statistics.retries, statistics.recovered) == (1, 3, 2, 1)


async def test_the_last_error_is_raised_with_its_cause_and_the_number_of_attempts(quick_clock):
    cause = OSError("socket")
    last = ConnectionError("last")
    last.__cause__ = cause
    flaky = Flaky(ConnectionError("first"), ConnectionError("second"), last)
    with pytest.raises(ConnectionError) as caught:
        await RetryManager(RetryConfig(max_retries=2), clock=quick_clock).execute(flaky)
    assert caught.value is last
    assert caught.value.__cause__ is cause
    assert "after 3 attempts" in caught.value.__notes__[0]


async def test_there_is_no_sleep_after_the_last_attempt(quick_clock):
    with pytest.raises(ConnectionError):
        await RetryManager(RetryConfig(max_retries=3), clock=quick_clock).execute(always_down)
    assert len(quick_clock.slept) == 3


async def test_waits_double_up_to_their_bound_without_jitter(quick_clock):
    config = RetryConfig(max_retries=5, base_delay=0.1, max_delay=1.0, jitter=False)
    with pytest.raises(ConnectionError):
        await RetryManager(config, clock=quick_clock).execute(always_down)
    assert quick_clock.slept == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0])


async def test_full_jitter_draws_below_the_bound_and_repeats_with_a_seed(quick_clock):
    config = RetryConfig(max_retries=4, base_delay=1.0, max_delay=100.0)
    for _ in range(2):
        with pytest.raises(ConnectionError):
            await RetryManager(config, clock=quick_clock, seed=7).execute(always_down)
    first, second = quick_clock.slept[:4], quick_clock.slept[4:]
    assert first == second
    assert all(0 <= wait <= bound for wait, bound in zip(first, [1, 2, 4, 8], strict=True))


@pytest.mark.parametrize("error", [AuthenticationError("key", status=401), TypeError("bug"), FileNotFoundError("x")])
async def test_what_another_attempt_cannot_cure_is_not_repeated(quick_clock, error):
    flaky = Flaky(error)
    with pytest.raises(type(error)):
        await RetryManager(clock=quick_clock).execute(flaky)
    assert (flaky.calls, quick_clock.slept) == (1, [])


async def test_a_message_never_decides(quick_clock):
    class AnswerError(Exception):
        status_code = 400

    flaky = Flaky(AnswerError("503 service unavailable, please retry"))
    with pytest.raises(AnswerError):
        await RetryManager(clock=quick_clock).execute(flaky)
    assert flaky.calls == 1


async def test_retry_after_is_the_least_wait(quick_clock):
    flaky = Flaky(ThrottledError("slow down", status=429, retry_after_s=7.0))
    await RetryManager(clock=quick_clock).execute(flaky)
    assert quick_clock.slept == [7.0]


async def test_a_retry_after_beyond_the_limit_fails_now(quick_clock):
    flaky = Flaky(ThrottledError("tomorrow", status=429, retry_after_s=86_400.0))
    with pytest.raises(ThrottledError) as caught:
        await RetryManager(clock=quick_clock).execute(flaky)
    assert (flaky.calls, quick_clock.slept) == (1, [])
    assert "max_retry_after" in caught.value.__notes__[0]


async def test_a_retry_after_beyond_the_deadline_fails_now(quick_clock):
    flaky = Flaky(ThrottledError("slow down", status=429, retry_after_s=7.0))
    with current.entered(deadline=Deadline.after(5.0, clock=quick_clock)), pytest.raises(ThrottledError) as caught:
        await RetryManager(clock=quick_clock).execute(flaky)
    assert quick_clock.slept == []
    assert "would pass the deadline" in caught.value.__notes__[0]


async def test_the_deadline_of_the_configuration_bounds_all_attempts_together(quick_clock):
    config = RetryConfig(max_retries=100, base_delay=1.0, max_delay=1.0, jitter=False, deadline_s=4.5)
    with pytest.raises(ConnectionError):
        await RetryManager(config, clock=quick_clock).execute(always_down)
    assert quick_clock.slept == [1.0] * 4


async def test_the_deadline_bounds_the_running_attempt():
    with current.entered(deadline=Deadline.after(0.02)), pytest.raises(DeadlineExceededError):
        await RetryManager().execute(asyncio.sleep, 60)


async def test_a_deadline_that_has_passed_starts_no_attempt(clock):
    flaky = Flaky()
    deadline = Deadline.after(1.0, clock=clock)
    clock.advance(2.0)
    with current.entered(deadline=deadline), pytest.raises(DeadlineExceededError):
        await RetryManager(clock=clock).execute(flaky)
    assert flaky.calls == 0


async def test_cancelling_the_wait_ends_the_call_at_once(clock):
    flaky = Flaky(ConnectionError(), ConnectionError())
    task = asyncio.ensure_future(RetryManager(clock=clock).execute(flaky))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(clock.slept) == 1
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert flaky.calls == 1
    assert current.scope().retry_owner is None


async def test_a_cancelled_attempt_is_never_repeated(quick_clock):
    flaky = Flaky(asyncio.CancelledError())
    with pytest.raises(asyncio.CancelledError):
        await RetryManager(RetryConfig(retry_on=lambda error: True), clock=quick_clock).execute(flaky)
    assert flaky.calls == 1


async def test_nested_managers_do_not_multiply_attempts(quick_clock):
    inner = RetryManager(clock=quick_clock, name="inner")
    middle = RetryManager(clock=quick_clock, name="middle")
    outer = RetryManager(clock=quick_clock, name="outer")
    flaky = Flaky(*[ConnectionError() for _ in range(100)])
    with pytest.raises(ConnectionError):
        await outer.execute(middle.execute, inner.execute, flaky)
    assert flaky.calls == 4


async def test_ownership_ends_with_the_call(quick_clock):
    manager = RetryManager(clock=quick_clock)
    await manager.execute(Flaky())
    flaky = Flaky(ConnectionError())
    assert await manager.execute(flaky) == "ok"


async def test_a_manager_that_makes_one_attempt_owns_nothing(quick_clock):
    single = RetryManager(RetryConfig(max_retries=0), clock=quick_clock)
    inner = RetryManager(clock=quick_clock)
    assert await single.execute(inner.execute, Flaky(ConnectionError())) == "ok"


async def test_state_belongs_to_the_call(quick_clock):
    manager = RetryManager(RetryConfig(max_retries=1), clock=quick_clock)
    flaky = [Flaky(ConnectionError()) for _ in range(20)]
    assert await asyncio.gather(*[manager.execute(one) for one in flaky]) == ["ok"] * 20


async def test_events_tell_every_attempt_and_every_wait(quick_clock, sink):
    run_id = uuid7()
    manager = RetryManager(clock=quick_clock, sink=sink, name="gpt-eu")
    with current.entered(run_id=run_id, phase="quorum_validation"):
        await manager.execute(Flaky(ThrottledError("busy", status=429, retry_after_s=3.0)))
    first, second = sink.of(AttemptFinished)
    (scheduled,) = sink.of(RetryScheduled)
    assert (first.outcome, first.attempt, first.error_class) == ("overload", 1, "ThrottledError")
    assert (second.outcome, second.attempt, second.deployment) == ("success", 2, "gpt-eu")
    assert (scheduled.wait_s, scheduled.attempt) == (3.0, 1)
    assert {event.run_id for event in sink.events} == {run_id}
    assert {event.phase for event in sink.events} == {"quorum_validation"}


async def test_a_refusal_of_ours_is_no_attempt_but_may_be_tried_again(quick_clock, sink):
    manager = RetryManager(clock=quick_clock, sink=sink)
    record = CallRecord()
    await manager.record(record, Flaky(PoolExhaustedError("no connection")))
    assert (record.attempts, record.refusals) == (1, 1)
    assert len(sink.of(AttemptFinished)) == 1


async def test_refusals_are_bounded_like_attempts(quick_clock):
    flaky = Flaky(*[PoolExhaustedError("no connection") for _ in range(100)])
    with pytest.raises(PoolExhaustedError):
        await RetryManager(clock=quick_clock).execute(flaky)
    assert flaky.calls == 4


async def test_an_empty_budget_stops_retries_until_successes_refill_it(quick_clock):
    budget = BudgetConfig(size=2.0, start=2.0, slow_cost=2.0)
    manager = RetryManager(RetryConfig(max_retries=10, budget=budget), clock=quick_clock)
    with pytest.raises(ConnectionError) as caught:
        await manager.execute(always_down)
    assert "budget" in caught.value.__notes__[0]
    assert (manager.statistics().retries, manager.statistics().budget_denied) == (2, 1)
    await manager.execute(Flaky())
    assert await manager.execute(Flaky(ConnectionError())) == "ok"


def test_a_retry_after_a_timeout_costs_ten_times_as_much():
    budget = RetryBudget(BudgetConfig(size=20.0, start=20.0))
    assert budget.withdraw(Outcome.TIMEOUT)
    assert budget.tokens == 10.0
    assert budget.withdraw(Outcome.TRANSIENT)
    assert budget.tokens == 9.0
    assert not budget.withdraw(Outcome.OVERLOAD)
    # Whoever was told how long to wait, and does, asks for no more than the other side offered.
    assert budget.withdraw(Outcome.OVERLOAD, is_asked=True)
    assert budget.tokens == 8.0


def test_a_budget_never_holds_more_than_its_size():
    budget = RetryBudget(BudgetConfig(size=20.0, start=10.0))
    for _ in range(100):
        budget.deposit()
    assert budget.tokens == 20.0


async def test_retry_on_replaces_the_classification(quick_clock):
    config = RetryConfig(retry_on=lambda error: isinstance(error, KeyError))
    with pytest.raises(ConnectionError):
        await RetryManager(config, clock=quick_clock).execute(always_down)
    assert await RetryManager(config, clock=quick_clock).execute(Flaky(KeyError("x"))) == "ok"


async def test_a_retry_on_that_fails_ends_the_call_with_the_error_of_the_call(quick_clock):
    config = RetryConfig(retry_on=lambda error: 1 / 0)
    with pytest.raises(ConnectionError) as caught:
        await RetryManager(config, clock=quick_clock).execute(always_down)
    assert "retry_on failed" in caught.value.__notes__[0]


async def test_the_document_form_uses_the_given_configuration(quick_clock):
    manager = RetryManager(RetryConfig(max_retries=9), clock=quick_clock)
    with pytest.raises(ConnectionError):
        await execute_with_retry(retry_manager=manager, config=RetryConfig(max_retries=1), func=always_down)
    assert manager.statistics().attempts == 2
    assert await execute_with_retry(None, None, Flaky(), "v") == "v"


async def test_counters_survive_a_restart(quick_clock):
    before = RetryManager(RetryConfig(budget=BudgetConfig()), clock=quick_clock, name="t")
    await before.execute(Flaky(ConnectionError()))
    after = RetryManager(RetryConfig(budget=BudgetConfig()), clock=quick_clock, name="t")
    after.restore(before.snapshots())
    assert after.statistics() == before.statistics()


@pytest.mark.parametrize(
    "settings",
    [{"max_retries": -1}, {"base_delay": -0.1}, {"max_delay": float("inf")}, {"backoff_multiplier": 0.5},
     {"deadline_s": 0}, {"max_retry_after": -1}],
)  # fmt: skip
def test_a_setting_out_of_range_is_named(settings):
    with pytest.raises(InvalidArgumentError, match=next(iter(settings))):
        RetryConfig(**settings)


@given(
    attempt=st.integers(1, 10_000),
    base=st.floats(0, 100),
    multiplier=st.floats(1, 1000),
    limit=st.floats(0, 1000),
    floor=st.none() | st.floats(0, 100),
)
def test_a_wait_lies_between_its_floor_and_its_bound(attempt, base, multiplier, limit, floor):
    bound = backoff_bound_s(attempt, base_s=base, multiplier=multiplier, max_s=limit)
    assert 0 <= bound <= limit
    wait = draw_wait_s(bound, jitter=True, floor_s=floor, rng=random.Random(1))
    assert (floor or 0) <= wait <= max(bound, floor or 0)


NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120.0),
        (" 1.5 ", 1.5),
        ("0", 0.0),
        ("-5", None),
        ("inf", None),
        ("nan", None),
        ("soon", None),
        ("", None),
        ("Sun, 01 Nov 2026 12:00:30 GMT", 30.0),
        ("Sun, 01 Nov 2026 11:00:00 GMT", 0.0),
        ("Sun, 01 Nov 2026 12:00:30 -0000", 30.0),
    ],
)
def test_retry_after_is_read_in_both_forms(text, seconds):
    assert parse_retry_after(text, now=NOW) == seconds


def test_the_wait_asked_for_is_found_where_clients_keep_it():
    answer = Exception()
    answer.response = SimpleNamespace(headers={"Retry-After": "9"})
    assert asked_wait_s(answer) == 9.0
    assert asked_wait_s(ThrottledError("x", retry_after_s=4.0)) == 4.0
    assert asked_wait_s(ThrottledError("x", retry_after_s=-4.0)) is None
    assert asked_wait_s(ConnectionError()) is None
