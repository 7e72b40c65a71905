"""The half-open state by itself: who may probe, and where each ending leads."""

from __future__ import annotations

import pytest

from omninode.resilience import CircuitBreakerConfig, CircuitState, Outcome, Sequential
from omninode.resilience.probes import Probes

pytestmark = pytest.mark.unit

ENDS = {"s": Outcome.SUCCESS, "f": Outcome.TRANSIENT, "t": Outcome.TIMEOUT, "o": Outcome.OVERLOAD,
        "n": Outcome.NEUTRAL, "c": Outcome.CLIENT}  # fmt: skip
STAYS, CLOSES, OPENS = CircuitState.HALF_OPEN, CircuitState.CLOSED, CircuitState.OPEN


def led(config, history):
    probes, verdict = Probes(config), STAYS
    for end in history:
        assert verdict is STAYS
        probes.begin(0.0)
        verdict = probes.end(ENDS[end])
    return verdict


@pytest.mark.parametrize(
    ("history", "verdict"),
    [("n", STAYS), ("c", STAYS), ("s", STAYS), ("ss", CLOSES), ("sns", CLOSES), ("f", OPENS), ("sf", OPENS),
     ("t", OPENS), ("o", OPENS)],
)  # fmt: skip
def test_by_count_so_many_successes_close_and_any_failure_opens(history, verdict):
    assert led(CircuitBreakerConfig(success_threshold=2), history) is verdict


@pytest.mark.parametrize(
    ("history", "verdict"),
    [("s", STAYS), ("ss", CLOSES), ("f", OPENS), ("nf", OPENS), ("sf", STAYS), ("sfs", STAYS), ("sfss", CLOSES),
     ("sfff", STAYS), ("sffff", OPENS), ("sffs", STAYS), ("sffsf", STAYS), ("sffss", CLOSES)],
)  # fmt: skip
def test_by_score_two_successes_more_close_and_only_more_failures_than_explained_open(history, verdict):
    assert led(CircuitBreakerConfig(closing=Sequential()), history) is verdict


def test_a_test_that_knows_its_target_better_needs_as_much_evidence():
    # ln(0.3 / 0.9) is -1.10 per success, so that five of them are needed for one error in a hundred.
    assert led(CircuitBreakerConfig(closing=Sequential(p0=0.1, p1=0.7)), "ssss") is STAYS
    assert led(CircuitBreakerConfig(closing=Sequential(p0=0.1, p1=0.7)), "sssss") is CLOSES


def test_evidence_that_is_even_is_no_reason_to_open():
    even = Sequential(p0=0.25, p1=0.75)
    assert even.up + even.down == 0.0
    assert led(CircuitBreakerConfig(closing=even), "sf") is STAYS
    assert led(CircuitBreakerConfig(closing=even), "sff") is OPENS


@pytest.mark.parametrize(("timeout_s", "patience_s"), [(10.0, 10.0), (0.25, 1.0)])
def test_one_more_may_start_when_the_last_has_not_answered_for_a_break_or_a_second(timeout_s, patience_s):
    probes = Probes(CircuitBreakerConfig(timeout_seconds=timeout_s))
    probes.begin(100.0)
    assert not probes.has_free(100.0)
    assert not probes.has_free(100.0 + 0.99 * patience_s)
    assert probes.has_free(100.0 + patience_s)
    assert probes.has_free(99.0)
    probes.begin(100.0 + patience_s)
    assert not probes.has_free(100.0 + 1.5 * patience_s)
    assert probes.under_way == 2


def test_after_a_longer_break_a_probe_is_waited_for_as_long():
    probes = Probes(CircuitBreakerConfig(timeout_seconds=10.0))
    probes.begin(100.0, break_s=40.0)
    assert not probes.has_free(139.0)
    assert probes.has_free(140.0)


@pytest.mark.parametrize(("ramps", "free"), [(False, [2, 2, 2]), (True, [2, 3, 4])])
def test_the_quota_grows_with_successes_where_it_ramps(ramps, free):
    probes = Probes(CircuitBreakerConfig(half_open_max_calls=2, probe_ramp=ramps, success_threshold=9))
    seen = []
    for _ in range(3):
        while probes.has_free(0.0):
            probes.begin(0.0)
        seen.append(probes.under_way)
        probes.end(Outcome.SUCCESS)
    assert seen == free


def test_clearing_forgets_everything():
    probes = Probes(CircuitBreakerConfig(closing=Sequential(), probe_ramp=True))
    probes.begin(0.0)
    probes.end(Outcome.SUCCESS)
    probes.begin(0.0)
    probes.clear()
    assert (probes.under_way, probes.successes) == (0, 0)
    probes.begin(0.0)
    assert not probes.has_free(0.0)
    assert probes.end(Outcome.SUCCESS) is STAYS
