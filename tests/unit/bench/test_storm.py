"""Troubles, backends and trials of the simulator: seeded, on virtual time."""

from __future__ import annotations

import math
import statistics
from itertools import pairwise
from random import Random

import pytest

from omninode.bench.intervals import median_interval
from omninode.bench.scenarios import resilience
from omninode.bench.storm.arms import ARMS, DOCUMENT, NONE, RETRIES, SHIPPED
from omninode.bench.storm.backend import Backend
from omninode.bench.storm.claims import Tallies, figures, table
from omninode.bench.storm.spans import Span, always, bursts, during, is_savable
from omninode.bench.storm.trial import Ended, Job, Tally, backends, run_job, tallied
from omninode.bench.storm.troubles import ALL_TROUBLES, Trouble
from omninode.bench.surroundings import Surroundings
from omninode.core.errors import InvalidArgumentError

pytestmark = pytest.mark.unit

TROUBLES = {trouble.name: trouble for trouble in ALL_TROUBLES}


def backend(*spans: Span, seed: int = 1) -> Backend:
    return Backend(spans, luck=Random(seed))


@pytest.mark.parametrize("trouble", ALL_TROUBLES, ids=lambda trouble: trouble.name)
def test_spans_follow_each_other_to_the_end_of_time_and_come_from_the_seed(trouble: Trouble) -> None:
    for course in trouble.courses:
        spans = course(Random(3))
        assert all(before.ends_s < after.ends_s for before, after in pairwise(spans))
        assert spans[-1].ends_s == math.inf
        assert course(Random(3)) == spans


def test_bursts_hold_their_share_of_time_and_differ_by_seed() -> None:
    course = bursts(2.0, every_s=20.0, until_s=50_000.0)
    spans = course(Random(5))
    lengths = [span.ends_s - before.ends_s for before, span in pairwise(spans[:-1]) if not span.is_good]
    assert statistics.fmean(lengths) == pytest.approx(2.0, rel=0.1)
    assert sum(lengths) / spans[-2].ends_s == pytest.approx(0.1, rel=0.1)
    assert {span.error_rate for span in spans} == {0.01, 0.95}
    assert course(Random(6)) != spans


def test_a_backend_fails_at_the_rate_of_its_span() -> None:
    played = backend(Span(ends_s=10.0), Span(ends_s=20.0, error_rate=0.3), Span(error_rate=1.0))
    assert not any(played.attempt(5.0).fails for _ in range(200))
    assert sum(played.attempt(15.0).fails for _ in range(5_000)) / 5_000 == pytest.approx(0.3, abs=0.02)
    assert all(played.attempt(25.0).fails for _ in range(200))
    assert played.attempts == 5_400


def test_healthy_answers_take_a_tenth_of_a_second_in_the_median() -> None:
    played = backend(Span())
    assert statistics.median(played.attempt(0.0).takes_s for _ in range(5_000)) == pytest.approx(0.1, rel=0.05)
    slow = backend(Span(slowness=10.0))
    assert statistics.median(slow.attempt(0.0).takes_s for _ in range(5_000)) == pytest.approx(1.0, rel=0.05)


def test_a_hanging_backend_never_answers() -> None:
    assert backend(Span(hangs=True)).attempt(1.0).takes_s == math.inf


def test_attempts_beyond_the_capacity_queue_and_are_served_faster_once_it_is_back() -> None:
    played = backend(Span(ends_s=10.0, capacity=10.0), Span(capacity=100.0))
    waits = [played.attempt(0.0).takes_s for _ in range(201)]
    # 100 are served in the first ten seconds, the rest at ten times the pace.
    assert waits[50] == pytest.approx(5.0, abs=0.5)
    assert waits[100] == pytest.approx(10.0, abs=0.5)
    assert waits[200] == pytest.approx(11.0, abs=0.5)
    assert played.attempt(11.5).takes_s < 1.0


def test_a_call_is_savable_when_a_good_moment_comes_in_time() -> None:
    spans = during(10.0, 40.0, Span(error_rate=1.0))(Random(1))
    assert is_savable(spans, 9.9, until_s=24.0)
    assert not is_savable(spans, 10.0, until_s=24.5)
    assert is_savable(spans, 26.0, until_s=40.5)
    assert is_savable(always()(Random(1)), 5.0, until_s=5.0)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Span(error_rate=1.1),
        lambda: Span(capacity=0.0),
        lambda: during(5.0, 5.0, Span()),
        lambda: bursts(2.0, every_s=1.0, until_s=9.0),
        lambda: median_interval([]),
    ],
)
def test_impossible_troubles_are_refused(wrong) -> None:
    with pytest.raises(InvalidArgumentError):
        wrong()


def test_every_arm_meets_the_same_arrivals_and_no_fault_harms_none() -> None:
    tallies = [run_job(Job(trouble="calm", arm=arm, seed=1)) for arm in ARMS]
    assert len({tally.calls for tally in tallies}) == 1
    assert tallies[0].calls == pytest.approx(800, rel=0.15)
    assert [(tally.failed, tally.bad, tally.amplification) for tally in tallies] == [(0, 0, 1.0)] * 5
    again = run_job(Job(trouble="calm", arm=NONE, seed=1))
    assert again == tallies[0]
    assert run_job(Job(trouble="calm", arm=NONE, seed=2)) != again


@pytest.mark.parametrize("arm", ARMS)
def test_one_seed_is_one_trial_however_often_it_is_run(arm: str) -> None:
    job = Job(trouble="outage, 2 backends" if arm == SHIPPED else "outage 8 s", arm=arm, seed=11)
    assert run_job(job) == run_job(job)


def test_the_arms_are_what_they_are_called() -> None:
    tallies = {arm: run_job(Job(trouble="outage 8 s", arm=arm, seed=4)) for arm in ARMS}
    bare = tallies[NONE]
    assert bare.failed == bare.bad
    assert bare.attempts == bare.calls
    assert tallies[RETRIES].attempts == pytest.approx(bare.calls + 3 * bare.failed, rel=0.05)
    # Five in a row, then a break of 30 s: hardly an attempt fails, and nearly every later call is refused.
    assert tallies[DOCUMENT].bad < 30
    assert tallies[DOCUMENT].failed_share > 50
    assert 0 < tallies[SHIPPED].bad < bare.bad


def test_a_hang_counts_every_attempt_that_ran_out_of_time_as_bad() -> None:
    bare = run_job(Job(trouble="hang, 2 backends", arm=NONE, seed=4))
    assert bare.bad == bare.failed == bare.savable_failed
    assert bare.window_p99_s == pytest.approx(5.0, abs=0.1)
    assert bare.before_p99_s is not None
    assert bare.before_p99_s < 0.5


def tally(*, trouble: str = "outage 60 s", arm: str = SHIPPED, seed: int = 1, failed: int = 0, bad: int = 0) -> Tally:
    return Tally(
        trouble=trouble, arm=arm, seed=seed, calls=100, failed=failed, attempts=120, bad=bad, p99_s=0.2,
        window_p99_s=0.3, before_p99_s=0.2, savable=50, savable_failed=1, back_after_s=2.0,
    )  # fmt: skip


def test_claims_pair_the_seeds_and_hold_harm_against_the_worst() -> None:
    tallies = Tallies(
        [
            *(tally(arm=NONE, seed=seed, failed=40, bad=100) for seed in (2, 1)),
            tally(seed=1, failed=41, bad=4),
            tally(seed=2, failed=43, bad=2),
        ]
    )
    found = {figure.name: figure for figure in figures(tallies, ALL_TROUBLES)}
    wasted, harm = found["A1 wasted attempts cut, outage 60 s"], found["A2 failures added, outage 60 s"]
    assert (wasted.spread.low, wasted.spread.high, wasted.is_reached) == (96.0, 98.0, True)
    assert (harm.spread.low, harm.spread.high, harm.is_reached) == (1.0, 3.0, False)
    assert found["B attempts per call, outage 60 s"].spread.median == 1.2
    rows = table(tallies, ALL_TROUBLES).rows
    assert [(row[0], row[1], row[2], row[4]) for row in rows] == [
        ("outage 60 s", NONE, "40.00", "40.00"), ("", SHIPPED, "42.00", "43.00"),
    ]  # fmt: skip


def test_a_permanent_fault_beyond_half_is_shown_and_not_claimed() -> None:
    tallies = Tallies([tally(trouble="permanent 60%", arm=arm, failed=90) for arm in (NONE, SHIPPED)])
    (harm,) = figures(tallies, ALL_TROUBLES)
    assert (harm.name, harm.is_reached) == ("A2 failures added, permanent 60%", None)


def test_a_service_is_back_when_its_calls_succeed_from_then_on() -> None:
    trouble = TROUBLES["outage 8 s"]
    ended = [Ended(at_s=at / 10, took_s=0.1, ok=not 100 <= at < 213) for at in range(350)]
    assert tallied(trouble, ended, backends(trouble, seed=1), arm=NONE, seed=1).back_after_s == 4.0


def test_the_interval_of_a_median_holds_it_and_is_the_same_each_time() -> None:
    values = [float(value) for value in range(1, 21)]
    low, high = median_interval(values)
    assert 5 <= low < 10.5 < high <= 16
    assert median_interval(values) == (low, high)
    assert median_interval([3.0]) == (3.0, 3.0)


def test_the_published_run_has_twenty_seeds_of_the_arms_that_are_compared() -> None:
    todo = resilience.jobs(Surroundings())
    for trouble in TROUBLES:
        seeds = {arm: {job.seed for job in todo if (job.trouble, job.arm) == (trouble, arm)} for arm in ARMS}
        assert len(seeds[NONE]) == len(seeds[SHIPPED]) == 20
        assert seeds[DOCUMENT] == seeds[RETRIES] < seeds[SHIPPED] == seeds[NONE]
