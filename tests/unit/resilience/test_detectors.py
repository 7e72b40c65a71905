"""The detectors by themselves: when they trip, when they are calm, and what half of the evidence does."""

from __future__ import annotations

import math

import pytest

from omninode.core.errors import InvalidArgumentError
from omninode.resilience import Consecutive, Sequential
from omninode.testing.clock import FakeClock

pytestmark = pytest.mark.unit

UP, DOWN = math.log(0.95 / 0.5), math.log(0.05 / 0.5)


def failures_to_trip(detector):
    for count in range(1, 100):
        if detector.failed(0.0):
            return count
    return None


@pytest.mark.parametrize(("spec", "usual", "alert"), [(Consecutive(5), 5, 3), (Consecutive(4), 4, 2), (Consecutive(1), 1, 1), (Sequential(), 16, 12)])  # fmt: skip
def test_it_trips_after_so_many_failures_and_sooner_while_sensitised(spec, usual, alert, clock):
    assert failures_to_trip(spec.start(clock)) == usual
    detector = spec.start(clock)
    detector.sensitise(20.0)
    assert detector.is_sensitised
    clock.advance(19.9)
    assert failures_to_trip(detector) == alert
    assert "in another process" in detector.reason
    detector.reset()
    assert not detector.is_sensitised
    assert failures_to_trip(detector) == usual
    assert "in another process" not in detector.reason


@pytest.mark.parametrize("spec", [Consecutive(5), Sequential()])
@pytest.mark.parametrize("seconds", [20.0, 1000.0, -1.0])
def test_being_sensitised_ends_with_its_time_and_when_the_clock_goes_back(spec, seconds, clock):
    detector = spec.start(clock)
    detector.sensitise(20.0)
    clock.advance(seconds)
    assert not detector.is_sensitised


@pytest.mark.parametrize("spec", [Consecutive(5), Sequential()])
def test_no_time_at_all_sensitises_nothing_and_ends_what_was(spec, clock):
    detector = spec.start(clock)
    assert not detector.is_sensitised
    for lasts_s in (0.0, -1.0):
        detector.sensitise(5.0)
        detector.sensitise(lasts_s)
        assert not detector.is_sensitised
    detector.sensitise(0.5)
    assert detector.is_sensitised


def test_a_run_is_broken_by_one_success_and_is_calm_then(clock):
    detector = Consecutive(3).start(clock)
    assert detector.is_calm is True
    for _ in range(3):
        assert [detector.failed(0.0), detector.failed(0.0)] == [False, False]
        assert detector.is_calm is False
        assert detector.succeeded(0.0) is False
        assert detector.is_calm is True
    detector.failed(0.0)
    assert detector.reason == "1 failures in a row"
    detector.reset()
    assert (detector.is_calm, detector.reason) == (True, "0 failures in a row")


def test_a_score_is_a_likelihood_ratio_that_never_falls_below_zero(clock):
    detector, score = Sequential().start(clock), 0.0
    assert detector.is_calm is True
    for has_failed in [0, 1, 1, 0, 1, 1, 1, 1, 1, 0, 1, 0, 0, 0, 1]:
        assert (detector.failed(0.0) if has_failed else detector.succeeded(0.0)) is False
        score = score + UP if has_failed else max(0.0, score + DOWN)
        assert detector._score == pytest.approx(score)
        assert detector.is_calm is (score == 0.0)
    detector.reset()
    assert (detector._score, detector.is_calm) == (0.0, True)


def test_it_trips_when_the_score_reaches_its_height_and_says_so(clock):
    # e and one failure: ln(p1/p0) is 1, and so is the height.
    detector = Sequential(p0=0.2, p1=0.2 * math.e, false_trip_calls=math.e).start(clock)
    assert detector._up == pytest.approx(1.0)
    detector._up = detector._height = 1.0
    assert detector.failed(0.0) is True
    assert detector.reason == "failure score 1.0 reached 1.0"


@pytest.mark.parametrize("spec", [Consecutive(), Sequential()])
def test_it_wants_no_times(spec):
    assert spec.is_timed is False


@pytest.mark.parametrize(("p0", "p1"), [(0.0, 0.5), (0.5, 0.5), (0.6, 0.5), (0.5, 1.0), (-0.1, 0.5), (0.5, 1.1)])
def test_rates_that_are_no_two_rates_are_named(p0, p1):
    with pytest.raises(InvalidArgumentError, match=r"p[01]"):
        Sequential(p0=p0, p1=p1)


def test_a_clock_of_its_own_is_all_it_needs():
    assert failures_to_trip(Sequential(p0=0.3, p1=0.9).start(FakeClock())) == 10


SUDDEN = Sequential(sudden_trip_calls=80.0)


def settled(detector, successes):
    for _ in range(successes):
        assert detector.succeeded(0.0) is False
    return detector


def test_failures_that_follow_on_nothing_or_on_a_calm_stretch_need_less(clock):
    assert failures_to_trip(SUDDEN.start(clock)) == 7
    assert failures_to_trip(settled(SUDDEN.start(clock), 3)) == 7
    assert failures_to_trip(settled(SUDDEN.start(clock), 200)) == 7


@pytest.mark.parametrize(("successes", "failures"), [(1, 16), (49, 16), (50, 7), (51, 7)])
def test_one_chance_to_trip_on_less_is_given_for_each_calm_stretch(successes, failures, clock):
    detector = SUDDEN.start(clock)
    for _ in range(3):
        assert detector.failed(0.0) is False
    # The first success takes more back than three failures have brought.
    settled(detector, successes)
    assert detector.is_calm is (failures == 7)
    assert failures_to_trip(detector) == failures


def test_a_failure_begins_the_calm_stretch_again(clock):
    detector = SUDDEN.start(clock)
    detector.failed(0.0)
    settled(detector, 49)
    detector.failed(0.0)
    settled(detector, 49)
    assert not detector.is_calm
    assert failures_to_trip(detector) == 16


def test_a_score_that_is_not_used_up_keeps_its_chance(clock):
    detector = SUDDEN.start(clock)
    for _ in range(6):
        assert detector.failed(0.0) is False
    settled(detector, 1)
    assert not detector.is_calm
    # 6 up and 1 down leave 1.55; 4.38 are five failures more.
    assert failures_to_trip(detector) == 5


def test_a_test_without_a_sudden_bound_is_calm_as_soon_as_its_score_is_gone(clock):
    detector = Sequential().start(clock)
    detector.failed(0.0)
    assert settled(detector, 1).is_calm


def test_after_a_reset_the_chance_has_to_be_earned(clock):
    detector = SUDDEN.start(clock)
    settled(detector, 49)
    detector.reset()
    assert not detector.is_calm
    assert failures_to_trip(settled(detector, 49)) == 16
    detector.reset()
    assert failures_to_trip(settled(detector, 50)) == 7


def test_sensitised_it_needs_the_least_of_both(clock):
    for calm, failures in [(0, 12), (50, 7)]:
        detector = SUDDEN.start(clock)
        detector.reset()
        settled(detector, calm).sensitise(20.0)
        assert failures_to_trip(detector) == failures
