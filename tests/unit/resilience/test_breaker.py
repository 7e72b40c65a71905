"""What a caller of a breaker can rely on."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from omninode.core import current
from omninode.core.concurrency import gather_settled
from omninode.core.deadline import Deadline
from omninode.core.errors import BreakerOpenError, InvalidArgumentError, RequestRejectedError
from omninode.core.events import BreakerChanged
from omninode.core.ids import uuid7
from omninode.resilience import CircuitBreaker, CircuitBreakerConfig, CircuitState, Outcome, Sequential, SlowCallRate
from omninode.resilience.circuit import Break

pytestmark = pytest.mark.unit

CONFIG = CircuitBreakerConfig(failure_threshold=3, timeout_seconds=10.0, success_threshold=2, jitter=0.0)


async def fail():
    raise ConnectionError("down")


async def succeed(value=1):
    return value


async def trip(breaker):
    for _ in range(breaker.config.failure_threshold):
        with pytest.raises(ConnectionError):
            await breaker.call(fail)


async def test_call_returns_the_value_and_passes_arguments_on(clock):
    breaker = CircuitBreaker("b", CONFIG, clock=clock)
    assert await breaker.call(succeed, value=7) == 7
    assert breaker.statistics().successes == 1


async def test_open_breaker_refuses_without_calling(clock):
    breaker = CircuitBreaker("b", CONFIG, clock=clock)
    await trip(breaker)
    calls = []
    clock.advance(4.0)
    with pytest.raises(BreakerOpenError, match=r"open for another 6\.0 s .*ConnectionError") as caught:
        await breaker.call(calls.append, 1)
    assert calls == []
    assert caught.value.retry_after_s == pytest.approx(6.0)
    assert caught.value.breaker == "b"


async def test_a_success_between_failures_starts_the_count_again(clock):
    breaker = CircuitBreaker("b", CONFIG, clock=clock)
    for _ in range(5):
        for _ in range(2):
            with pytest.raises(ConnectionError):
                await breaker.call(fail)
        await breaker.call(succeed)
    assert breaker.state is CircuitState.CLOSED


async def test_breaker_closes_after_enough_successful_probes(clock, sink):
    breaker = CircuitBreaker("b", CONFIG, clock=clock, sink=sink)
    await trip(breaker)
    clock.advance(10.0)
    await breaker.call(succeed)
    assert breaker.state is CircuitState.HALF_OPEN
    await breaker.call(succeed)
    assert breaker.state is CircuitState.CLOSED
    assert [(event.before, event.after) for event in sink.of(BreakerChanged)] == [
        ("closed", "open"),
        ("open", "half_open"),
        ("half_open", "closed"),
    ]


async def test_a_failed_probe_opens_again(clock):
    breaker = CircuitBreaker("b", CONFIG, clock=clock)
    await trip(breaker)
    clock.advance(10.0)
    await breaker.call(succeed)
    with pytest.raises(ConnectionError):
        await breaker.call(fail)
    assert breaker.state is CircuitState.OPEN
    assert breaker.retry_after_s == pytest.approx(10.0)


async def test_a_hundred_waiters_at_reopening_send_one_probe(clock):
    breaker = CircuitBreaker("b", CONFIG, clock=clock)
    await trip(breaker)
    clock.advance(10.0)
    reached = []

    async def dead():
        reached.append(1)
        await asyncio.sleep(0)
        raise ConnectionError("still down")

    settled = await gather_settled([lambda: breaker.call(dead)] * 100)
    assert len(reached) == 1
    assert sum(isinstance(entry.error, BreakerOpenError) for entry in settled) == 99


@pytest.mark.performance
async def test_calls_through_one_breaker_overlap(clock):
    breaker = CircuitBreaker("b", CONFIG, clock=clock)
    together = asyncio.Barrier(10)
    await gather_settled([lambda: breaker.call(together.wait)] * 10)
    assert breaker.statistics().successes == 10


async def test_rejections_are_counted_and_tell_no_event(clock, sink):
    breaker = CircuitBreaker("b", CONFIG, clock=clock, sink=sink)
    await trip(breaker)
    for _ in range(20):
        with pytest.raises(BreakerOpenError):
            await breaker.call(succeed)
    assert breaker.statistics().rejected == 20
    assert len(sink.events) == 1
    clock.advance(10.0)
    await breaker.call(succeed)
    await breaker.call(succeed)
    assert [event.refused for event in sink.of(BreakerChanged)] == [0, 20, 0]


async def test_events_carry_the_run_and_phase_of_the_caller(clock, sink):
    breaker = CircuitBreaker("b", CONFIG, clock=clock, sink=sink)
    run_id = uuid7()
    with current.entered(run_id=run_id, phase="parallel_execution"):
        await trip(breaker)
    (event,) = sink.of(BreakerChanged)
    assert (event.run_id, event.phase, event.retry_after_s) == (run_id, "parallel_execution", 10.0)


@pytest.mark.parametrize("error", [RequestRejectedError("no such model", status=404), TypeError("bug")])
async def test_client_faults_never_open_it(clock, error):
    breaker = CircuitBreaker("b", CONFIG, clock=clock)

    async def reject():
        raise error

    for _ in range(50):
        with pytest.raises(type(error)):
            await breaker.call(reject)
    assert breaker.state is CircuitState.CLOSED
    assert breaker.statistics().neutral == 50


async def test_cancelled_calls_move_nothing(clock):
    breaker = CircuitBreaker("b", CONFIG, clock=clock)
    tasks = [asyncio.ensure_future(breaker.call(asyncio.sleep, 60)) for _ in range(100)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert all(task.cancelled() for task in tasks)
    statistics = breaker.statistics()
    assert (statistics.state, statistics.neutral, statistics.failures) == (CircuitState.CLOSED, 100, 0)


async def test_a_cancelled_probe_gives_its_slot_to_the_next(clock):
    breaker = CircuitBreaker("b", CONFIG, clock=clock)
    await trip(breaker)
    clock.advance(10.0)
    probe = asyncio.ensure_future(breaker.call(asyncio.sleep, 60))
    await asyncio.sleep(0)
    with pytest.raises(BreakerOpenError, match="half open"):
        await breaker.call(succeed)
    probe.cancel()
    await asyncio.wait([probe])
    assert breaker.statistics().probes_under_way == 0
    assert await breaker.call(succeed) == 1


async def test_a_success_from_before_the_trip_closes_nothing(clock):
    breaker = CircuitBreaker("b", CONFIG, clock=clock)
    answer = asyncio.get_running_loop().create_future()
    slow = asyncio.ensure_future(breaker.call(lambda: answer))
    await asyncio.sleep(0)
    await trip(breaker)
    answer.set_result("late")
    assert await slow == "late"
    assert breaker.state is CircuitState.OPEN
    assert breaker.statistics().stale == 1


async def test_a_success_from_before_an_isolation_is_not_heard(clock):
    breaker = CircuitBreaker("b", CONFIG, clock=clock)
    answer = asyncio.get_running_loop().create_future()
    slow = asyncio.ensure_future(breaker.call(lambda: answer))
    await asyncio.sleep(0)
    breaker.isolate()
    answer.set_result(1)
    await slow
    assert (breaker.statistics().successes, breaker.statistics().stale) == (0, 1)


async def test_a_breaker_that_closed_counts_from_nothing(clock):
    breaker = CircuitBreaker("b", CONFIG, clock=clock)
    for _ in range(3):
        await trip(breaker)
        assert breaker.state is CircuitState.OPEN
        clock.advance(10.0)
        for expected in (CircuitState.HALF_OPEN, CircuitState.CLOSED):
            await breaker.call(succeed)
            assert breaker.state is expected


def test_opening_an_open_breaker_is_no_transition(clock, sink):
    breaker = CircuitBreaker("b", CONFIG, clock=clock, sink=sink)
    breaker.open()
    breaker.open()
    assert len(sink.events) == 1


async def test_a_late_failure_does_not_reopen_a_closed_breaker(clock):
    breaker = CircuitBreaker("b", CONFIG, clock=clock)
    permits = [breaker.admit() for _ in range(3)]
    breaker.isolate()
    breaker.close()
    for permit in permits:
        permit.release(Outcome.TRANSIENT)
    assert breaker.state is CircuitState.CLOSED
    assert breaker.statistics().failures == 0


def test_a_permit_counts_once_however_often_it_is_released(clock):
    breaker = CircuitBreaker("b", CONFIG, clock=clock)
    permit = breaker.admit()
    for _ in range(5):
        permit.release(Outcome.TRANSIENT)
    assert breaker.statistics().failures == 1
    assert breaker.state is CircuitState.CLOSED


def test_a_probe_that_never_answers_does_not_hold_it_half_open_for_ever(clock):
    breaker = CircuitBreaker("b", CONFIG, clock=clock)
    breaker.open()
    clock.advance(10.0)
    lost = breaker.admit()
    with pytest.raises(BreakerOpenError):
        breaker.admit()
    clock.advance(10.0)
    second = breaker.admit()
    with pytest.raises(BreakerOpenError):
        breaker.admit()
    second.release(Outcome.SUCCESS)
    lost.release(Outcome.SUCCESS)
    assert breaker.state is CircuitState.CLOSED


def test_isolation_lasts_until_it_is_lifted(clock):
    breaker = CircuitBreaker("b", CONFIG, clock=clock)
    breaker.isolate("maintenance")
    clock.advance(1e9)
    with pytest.raises(BreakerOpenError, match=r"isolated by hand \(maintenance\)") as caught:
        breaker.admit()
    assert caught.value.retry_after_s is None
    breaker.close()
    assert breaker.admit().is_probe is False


async def test_reset_forgets_what_was_counted(clock):
    breaker = CircuitBreaker("b", CONFIG, clock=clock)
    await trip(breaker)
    breaker.reset()
    statistics = breaker.statistics()
    assert (statistics.state, statistics.failures, statistics.openings) == (CircuitState.CLOSED, 0, 0)


def test_breaks_grow_up_to_their_bound_and_shrink_after_calm(clock):
    config = CircuitBreakerConfig(
        failure_threshold=1, success_threshold=1, timeout_seconds=1.0, break_growth=2.0, max_break_seconds=4.0, jitter=0
    )
    breaker = CircuitBreaker("b", config, clock=clock)
    lengths = []
    for _ in range(4):
        breaker.admit().release(Outcome.TIMEOUT)
        lengths.append(breaker.retry_after_s)
        clock.advance(4.0)
        breaker.admit().release(Outcome.SUCCESS)
    assert lengths == [1.0, 2.0, 4.0, 4.0]
    for _ in range(50):
        breaker.admit().release(Outcome.SUCCESS)
    breaker.admit().release(Outcome.TIMEOUT)
    assert breaker.retry_after_s == 1.0


def test_jitter_only_shortens_a_break(clock):
    config = CircuitBreakerConfig(timeout_seconds=10.0, jitter=0.2)
    lengths = set()
    for seed in range(50):
        breaker = CircuitBreaker("b", config, clock=clock, seed=seed)
        breaker.open()
        lengths.add(breaker.retry_after_s)
    assert len(lengths) == 50
    assert 8.0 <= min(lengths) < 9.0 < max(lengths) <= 10.0


async def test_a_plain_function_is_run_and_its_value_returned(clock):
    breaker = CircuitBreaker("b", CONFIG, clock=clock)
    assert await breaker.call(lambda: 3) == 3


async def test_a_classifier_that_fails_counts_as_a_failure_and_leaks_no_probe(clock):
    def broken(error):
        raise ValueError("classifier")

    config = CircuitBreakerConfig(failure_threshold=1, timeout_seconds=10.0, jitter=0.0, classify=broken)
    breaker = CircuitBreaker("b", config, clock=clock)
    with pytest.raises(ConnectionError) as caught:
        await breaker.call(fail)
    assert "the classifier failed" in caught.value.__notes__[0]
    clock.advance(10.0)
    with pytest.raises(ConnectionError):
        await breaker.call(fail)
    assert (breaker.state, breaker.statistics().probes_under_way) == (CircuitState.OPEN, 0)


def test_the_sequential_detector_trips_after_sixteen_failures(clock):
    breaker = CircuitBreaker("b", CircuitBreakerConfig(detector=Sequential()), clock=clock)
    failures = 0
    while breaker.state is CircuitState.CLOSED:
        breaker.admit().release(Outcome.TRANSIENT)
        failures += 1
    assert failures == 16


def test_the_sequential_detector_stays_closed_at_half_failures(clock):
    breaker = CircuitBreaker("b", CircuitBreakerConfig(detector=Sequential()), clock=clock)
    for _ in range(5000):
        breaker.admit().release(Outcome.TRANSIENT)
        breaker.admit().release(Outcome.SUCCESS)
    assert breaker.state is CircuitState.CLOSED


@pytest.mark.parametrize(
    "settings",
    [
        {"failure_threshold": 0},
        {"failure_threshold": True},
        {"failure_threshold": 2.5},
        {"timeout_seconds": 0},
        {"timeout_seconds": float("nan")},
        {"success_threshold": -1},
        {"half_open_max_calls": 0},
        {"jitter": 1.5},
        {"break_growth": 0.5},
        {"max_break_seconds": 1.0},
    ],
)
def test_a_setting_out_of_range_is_named(settings):
    with pytest.raises(InvalidArgumentError, match=next(iter(settings))):
        CircuitBreakerConfig(**settings)


def test_a_restored_break_goes_on_for_what_is_left(clock):
    before = CircuitBreaker("b", CONFIG, clock=clock)
    before.open("outage")
    clock.advance(4.0)
    kept = before.snapshot()
    clock.advance(3.0)
    after = CircuitBreaker("b", CONFIG, clock=clock)
    after.restore(kept)
    assert after.retry_after_s == pytest.approx(3.0)
    assert after.generation > kept.generation
    assert after.statistics().reason == "outage"


def test_a_clock_set_wrong_never_restores_more_than_the_longest_break(clock):
    before = CircuitBreaker("b", CONFIG, clock=clock)
    before.open()
    kept = before.snapshot()
    moved = type(clock)()
    moved.now = lambda: clock.now() - timedelta(days=365)
    after = CircuitBreaker("b", CONFIG, clock=moved)
    after.restore(kept)
    assert after.retry_after_s <= 10.0


def test_isolation_and_half_open_survive_a_restart(clock):
    isolated = CircuitBreaker("i", CONFIG, clock=clock)
    isolated.isolate()
    probing = CircuitBreaker("p", CONFIG, clock=clock)
    probing.open()
    clock.advance(10.0)
    probing.admit()
    again = [CircuitBreaker(name, CONFIG, clock=clock) for name in "ip"]
    again[0].restore(isolated.snapshot())
    again[1].restore(probing.snapshot())
    assert again[0].retry_after_s is None
    assert (again[1].state, again[1].retry_after_s) == (CircuitState.OPEN, 0.0)
    assert again[1].admit().is_probe


async def test_a_step_of_the_wall_clock_changes_no_break(clock):
    breaker = CircuitBreaker("b", CONFIG, clock=clock)
    await trip(breaker)
    clock.now = lambda: None  # any use of the wall clock for timing would raise
    assert breaker.retry_after_s == pytest.approx(10.0)
    clock.advance(10.0)
    assert await breaker.call(succeed) == 1


def test_without_settings_it_is_the_documents():
    assert CircuitBreaker("b").config == CircuitBreakerConfig()


def test_a_break_is_over_when_it_is_over_and_not_a_second_before(clock):
    breaker = CircuitBreaker("b", CONFIG, clock=clock)
    breaker.open()
    clock.advance(9.875)
    with pytest.raises(BreakerOpenError):
        breaker.admit()
    clock.advance(0.125)
    assert breaker.retry_after_s == 0.0
    clock.advance(0.125)
    assert breaker.retry_after_s == 0.0
    assert breaker.admit().is_probe


def test_a_second_word_counts_while_closed_and_never_for_a_probe_or_after_a_change(clock):
    breaker = CircuitBreaker("b", CONFIG, clock=clock)
    permit = breaker.admit()
    permit.release(Outcome.TIMEOUT)
    breaker.hear(permit, Outcome.SUCCESS)
    assert (breaker.statistics().failures, breaker.statistics().successes) == (1, 1)
    breaker.open()
    breaker.hear(permit, Outcome.SUCCESS)
    clock.advance(10.0)
    probe = breaker.admit()
    probe.release(Outcome.SUCCESS)
    breaker.hear(probe, Outcome.SUCCESS)
    statistics = breaker.statistics()
    assert (statistics.successes, statistics.stale, statistics.probes_under_way) == (2, 0, 0)
    assert statistics.state is CircuitState.HALF_OPEN
    breaker.close()
    breaker.hear(permit, Outcome.SUCCESS)
    assert (breaker.statistics().successes, breaker.statistics().stale) == (2, 0)


def test_what_a_break_has_left_is_nothing_outside_it():
    pause = Break(opened_at=None, began=100.0, until=110.0, reason="")
    assert [pause.left_s(now) for now in (99.0, 100.0, 104.0, 110.0, 111.0)] == [0.0, 10.0, 6.0, 0.0, 0.0]
    assert pause.is_second_hand is False


def test_a_break_is_no_longer_than_half_of_what_those_it_refused_could_have_waited(clock):
    grows = CircuitBreakerConfig(timeout_seconds=1.0, break_growth=2.0, max_break_seconds=60.0, jitter=0.0)
    breaker = CircuitBreaker("b", grows, clock=clock)
    for _ in range(5):
        breaker.open()
    assert breaker.retry_after_s == 16.0
    for patience_s in (12.0, 5.0):
        with current.entered(deadline=Deadline.after(patience_s, clock=clock)), pytest.raises(BreakerOpenError):
            breaker.admit()
    lengths = []
    for patience_s in (None, None, 0.5):
        if patience_s:
            with current.entered(deadline=Deadline.after(patience_s, clock=clock)), pytest.raises(BreakerOpenError):
                breaker.admit()
        breaker.open()
        lengths.append(breaker.retry_after_s)
    # The most patient of them decides, once; and no break is shorter than the first for anybody's sake.
    assert lengths == [6.0, 60.0, 1.0]


def test_the_break_after_a_restored_one_is_the_second(clock):
    grows = CircuitBreakerConfig(timeout_seconds=10.0, break_growth=2.0, jitter=0.0)
    before = CircuitBreaker("b", grows, clock=clock)
    before.open()
    after = CircuitBreaker("b", grows, clock=clock)
    after.restore(before.snapshot())
    after.open()
    assert after.retry_after_s == 20.0


@pytest.mark.parametrize(
    ("outcome", "counts"),
    [(Outcome.SUCCESS, (1, 0, 0)), (Outcome.TRANSIENT, (0, 1, 0)), (Outcome.OVERLOAD, (0, 1, 0)),
     (Outcome.CLIENT, (0, 0, 1)), (Outcome.NEUTRAL, (0, 0, 1))],
)  # fmt: skip
def test_each_ending_of_a_probe_is_counted_as_what_it_was(clock, outcome, counts):
    breaker = CircuitBreaker("b", CONFIG, clock=clock)
    breaker.open()
    clock.advance(10.0)
    breaker.admit().release(outcome)
    statistics = breaker.statistics()
    assert (statistics.successes, statistics.failures, statistics.neutral) == counts


def test_a_breaker_that_closed_has_no_reason_and_no_break_any_more(clock):
    breaker = CircuitBreaker("b", CONFIG, clock=clock)
    breaker.open("outage")
    breaker.close()
    assert (breaker.statistics().reason, breaker.snapshot().opened_at, breaker.snapshot().reason) == ("", None, "")


def test_what_began_on_the_word_of_others_stays_second_hand_until_it_closes(clock):
    breaker = CircuitBreaker("b", CONFIG, clock=clock)
    breaker.detector.sensitise(20.0)
    for _ in range(2):
        breaker.admit().release(Outcome.TRANSIENT)
    assert breaker.snapshot().is_second_hand
    clock.advance(10.0)
    breaker.admit().release(Outcome.TRANSIENT)
    assert (breaker.state, breaker.snapshot().is_second_hand) == (CircuitState.OPEN, True)
    breaker.close()
    breaker.open()
    assert not breaker.snapshot().is_second_hand


def test_events_say_what_was_done_by_hand_and_how_long_only_a_break_lasts(clock, sink):
    breaker = CircuitBreaker("b", CONFIG, clock=clock, sink=sink)
    for move in (breaker.open, breaker.close, breaker.isolate, breaker.reset):
        move()
    for _ in range(3):
        breaker.admit().release(Outcome.TRANSIENT)
    clock.advance(10.0)
    breaker.admit().release(Outcome.SUCCESS)
    breaker.admit().release(Outcome.SUCCESS)
    told = [(event.after, event.is_by_hand, event.retry_after_s) for event in sink.of(BreakerChanged)]
    assert told == [
        ("open", True, 10.0), ("closed", True, None), ("open", True, None), ("closed", True, None),
        ("open", False, 10.0), ("half_open", False, None), ("closed", False, None),
    ]  # fmt: skip


def test_while_a_probe_is_under_way_a_third_of_a_second_is_the_wait(clock):
    breaker = CircuitBreaker("b", CONFIG, clock=clock)
    breaker.open()
    clock.advance(10.0)
    probe = breaker.admit()
    assert breaker.retry_after_s == 0.3
    probe.release(Outcome.NEUTRAL)
    assert breaker.retry_after_s == 0.0


def test_a_breaker_that_times_its_calls_admits_none_by_a_ticket(clock):
    rule = SlowCallRate(slower_than_s=1.0, calls=5, min_calls=5)
    breaker = CircuitBreaker("b", CircuitBreakerConfig(detector=rule), clock=clock)
    assert breaker.ticket == 0
    breaker.reset()
    assert breaker.ticket == 0
