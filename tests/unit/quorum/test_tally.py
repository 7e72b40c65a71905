"""The tally: what decides, what stops early, and that the order of the votes plays no part."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omninode.core.errors import InvalidArgumentError
from omninode.quorum.tally import count, decide, is_settled, merge_deficiencies
from omninode.quorum.vote import Decision, Vote

pytestmark = pytest.mark.unit

PASS, RETRY, FAIL = Decision.PASS, Decision.RETRY, Decision.FAIL


def cast(decision: Decision, weight: float = 1.0, **fields) -> Vote:
    values = {"voter": "v", "model": "m", "status": "counted", "score": 0.5, "confidence": 0.8, **fields}
    return Vote(decision=decision, weight=weight, **values)


def lost(weight: float = 1.0) -> Vote:
    return Vote(voter="v", model="m", weight=weight, status="lost", error_class="AttemptTimeoutError")


decisions = st.sampled_from(list(Decision))
# Weights with ties (whole numbers) and weights no float adds up exactly (tenths).
weights = st.one_of(st.integers(1, 4).map(float), st.sampled_from([0.1, 0.2, 0.3, 0.7, 1.1]))
votes = st.lists(st.tuples(decisions, weights), min_size=1, max_size=7).map(
    lambda pairs: [cast(decision, weight, voter=f"v{n}") for n, (decision, weight) in enumerate(pairs)]
)


@pytest.mark.parametrize(
    ("given_votes", "expected"),
    [
        ([PASS, PASS, RETRY], PASS),
        ([PASS, FAIL, FAIL], FAIL),
        ([PASS, PASS, FAIL, FAIL, RETRY], RETRY),
        ([PASS, FAIL], RETRY),
        ([PASS, RETRY], RETRY),
        ([FAIL], FAIL),
    ],
)
def test_more_than_half_decides_and_a_split_panel_retries(given_votes, expected):
    assert decide([cast(decision) for decision in given_votes]) is expected


def test_a_heavy_vote_outweighs_two_light_ones():
    assert decide([cast(PASS, 3.0), cast(FAIL, 1.0), cast(FAIL, 1.0)]) is PASS


def test_three_tenths_are_not_more_than_one_and_two_tenths():
    # As fractions 0.1 + 0.2 is a little more than 0.3; as sums of floats the rounding would decide.
    assert decide([cast(PASS, 0.3), cast(FAIL, 0.1), cast(FAIL, 0.2)]) is FAIL


def test_lost_votes_do_not_count():
    assert decide([cast(PASS), lost(5.0), lost(5.0)]) is PASS


def test_without_a_counted_vote_nothing_is_decided():
    with pytest.raises(InvalidArgumentError, match="no vote was counted"):
        decide([lost()])


@given(votes=votes, order=st.randoms(use_true_random=False))
def test_the_order_of_the_votes_plays_no_part(votes, order):
    shuffled = list(votes)
    order.shuffle(shuffled)
    assert count(shuffled) == count(votes)


@given(votes=votes)
def test_early_stop_never_changes_the_decision(votes):
    whole = decide(votes)
    for heard in range(1, len(votes) + 1):
        outstanding = [vote.weight for vote in votes[heard:]]
        if is_settled(votes[:heard], outstanding):
            assert decide(votes[:heard]) is whole
            return
    pytest.fail("a poll in which everybody has voted is settled")


@given(cast_votes=st.lists(st.tuples(decisions, weights), min_size=1, max_size=4), rest=st.lists(weights, max_size=4))
def test_settled_means_exactly_that_no_outcome_of_the_rest_matters(cast_votes, rest):
    heard = [cast(decision, weight) for decision, weight in cast_votes]
    outcomes = itertools.product([*Decision, None], repeat=len(rest))
    reachable = {
        decide([*heard, *(cast(kind, weight) for kind, weight in zip(outcome, rest, strict=True) if kind is not None)])
        for outcome in outcomes
    }
    assert is_settled(heard, rest) == (len(reachable) == 1)


@given(votes=votes, factor=st.sampled_from([0.25, 2.0, 8.0]))
def test_only_the_proportion_of_the_weights_matters(votes, factor):
    scaled = [cast(vote.decision, vote.weight * factor) for vote in votes]
    assert decide(scaled) is decide(votes)


def test_a_settled_majority_still_waits_for_the_minimum():
    heard = [cast(PASS, 10.0)]
    assert is_settled(heard, [1.0, 1.0])
    assert not is_settled(heard, [1.0, 1.0], minimum=2)


def test_a_minimum_out_of_reach_stops_the_waiting():
    assert is_settled([cast(PASS), lost(), lost(), lost()], [1.0], minimum=3)


def test_confidence_is_the_share_behind_the_decision_times_what_they_claim():
    tally = count([cast(PASS, 3.0, confidence=0.9), cast(PASS, 1.0, confidence=0.5), cast(FAIL, 1.0, confidence=1.0)])
    assert tally.confidence == pytest.approx(0.8 * 0.8)


def test_a_retry_nobody_voted_for_has_no_confidence():
    tally = count([cast(PASS), cast(FAIL)])
    assert (tally.decision, tally.confidence) == (RETRY, 0.0)


def test_scores_are_weighted_means_over_those_who_gave_them():
    tally = count(
        [
            cast(PASS, 3.0, score=1.0, scores={"coverage": 1.0}),
            cast(PASS, 1.0, score=0.6, scores={"coverage": 0.6, "order": 0.2}),
        ]
    )
    assert tally.scores == pytest.approx({"overall": 0.9, "coverage": 0.9, "order": 0.2})


def test_deficiencies_are_merged_and_ranked_by_the_weight_behind_them():
    merged = merge_deficiencies(
        [
            cast(RETRY, 1.0, deficiencies=("No tests.", "nothing covers: docs")),
            cast(RETRY, 1.0, deficiencies=("nothing covers: 'Docs'",)),
            cast(RETRY, 1.5, deficiencies=("nothing covers: tests",)),
            lost(),
        ]
    )
    assert merged == ("nothing covers: 'Docs'", "nothing covers: tests", "No tests.")


def test_a_voter_who_repeats_itself_is_counted_once():
    merged = merge_deficiencies(
        [
            cast(RETRY, 1.0, deficiencies=("no docs", "No docs!", "no docs")),
            cast(RETRY, 1.5, deficiencies=("no tests",)),
        ]
    )
    assert merged[0] == "no tests"
