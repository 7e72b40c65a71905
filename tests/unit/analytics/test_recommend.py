"""Scoring: the interval, the order, the reasons, the mix of tasks."""

import itertools

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from omninode.analytics.recommend import Interval, Record, mix_adjusted, ranked, wilson
from omninode.core.errors import InvalidArgumentError

pytestmark = pytest.mark.unit

counts = st.integers(min_value=1, max_value=5_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


def record(agent: str, good: int, samples: int, ms: float = 1000.0, cost: float | None = None) -> Record:
    return Record(agent_id=agent, samples=samples, successes=good, mean_ms=ms, cost_uusd=cost)


@pytest.mark.parametrize(("good", "samples", "low", "high"), [(9, 10, 0.596, 0.982), (45, 50, 0.786, 0.957)])
def test_the_interval_is_that_of_the_literature(good, samples, low, high):
    interval = wilson(good, samples)
    assert (interval.low, interval.high) == (pytest.approx(low, abs=0.001), pytest.approx(high, abs=0.001))


@given(counts)
def test_the_interval_holds_the_rate_and_lies_between_zero_and_one(pair):
    good, samples = pair
    interval = wilson(good, samples)
    assert 0 <= interval.low <= good / samples <= interval.high <= 1


@given(counts)
def test_the_interval_of_failures_mirrors_that_of_successes(pair):
    good, samples = pair
    interval, mirrored = wilson(good, samples), wilson(samples - good, samples)
    assert (interval.low, interval.high) == (pytest.approx(1 - mirrored.high), pytest.approx(1 - mirrored.low))


@given(counts, st.integers(2, 20))
def test_more_of_the_same_narrows_the_interval(pair, factor):
    good, samples = pair
    one, more = wilson(good, samples), wilson(good * factor, samples * factor)
    assert more.high - more.low < one.high - one.low


def test_nothing_tried_says_nothing_and_impossible_counts_are_refused():
    assert wilson(0, 0) == Interval(0.0, 1.0)
    with pytest.raises(InvalidArgumentError, match="between zero and the total"):
        wilson(3, 2)


@given(st.lists(counts, min_size=1, max_size=20))
def test_nobody_stands_clearly_above_a_better_one(pairs):
    found = ranked("code", [record(str(i), good, samples) for i, (good, samples) in enumerate(pairs)], limit=20)
    scores = [entry.score for entry in found]
    assert all(later <= earlier + 0.02 for earlier, later in itertools.pairwise(scores))


@given(st.lists(counts, min_size=2, max_size=10), st.randoms())
def test_the_order_does_not_depend_on_the_order_of_records(pairs, random):
    records = [record(str(i), good, samples) for i, (good, samples) in enumerate(pairs)]
    shuffled = records.copy()
    random.shuffle(shuffled)
    assert ranked("code", records, limit=10).items == ranked("code", shuffled, limit=10).items


def test_level_agents_are_told_apart_by_time_then_by_cost():
    found = ranked(
        "code", [record("slow", 50, 50, 900), record("dear", 50, 50, 500, 9), record("cheap", 50, 50, 500, 1)]
    )
    assert [entry.agent_id for entry in found] == ["cheap", "dear", "slow"]


def test_an_unknown_price_stands_behind_a_known_one():
    found = ranked("code", [record("unknown", 50, 50, 500), record("known", 50, 50, 500, 99)])
    assert [entry.agent_id for entry in found] == ["known", "unknown"]
    assert found[1].cost_per_success_uusd is None


def test_reasons_name_numbers_doubt_and_price():
    best, doubtful = ranked("code", [record("a", 90, 100, 1500, 400), record("b", 4, 5, 3000)])
    assert best.reasons == (
        "90 of 100 tasks succeeded; the true rate is 83% to 94%",
        "takes 1.5 s on average, the fastest of those known",
        "costs 0.0004 USD per success",
    )
    assert "may be as good as the first: the intervals overlap" in doubtful.reasons
    assert any("only 5 outcomes" in reason for reason in doubtful.reasons)


def test_recommendations_are_a_sequence_of_at_most_the_limit():
    found = ranked("code", [record(str(number), number, 10) for number in range(10)], limit=3)
    assert [entry.agent_id for entry in found] == ["9", "8", "7"]
    assert (len(found), found[-1].agent_id, [entry.agent_id for entry in found[:2]]) == (3, "7", ["9", "8"])
    assert found.note == "ranked by 100 outcomes of type 'code'"


@given(st.dictionaries(st.sampled_from("abc"), counts, min_size=1), st.floats(0.01, 0.98))
def test_an_adjusted_rate_lies_between_the_rates_of_the_types(by_type, share):
    shares = {"a": share, "b": (1 - share) / 2, "c": (1 - share) / 2}
    assume(set(by_type) <= set(shares))
    adjusted = mix_adjusted(by_type, shares)
    rates = [good / samples for good, samples in by_type.values()]
    assert adjusted is not None
    assert min(rates) - 1e-9 <= adjusted <= max(rates) + 1e-9


def test_types_nobody_meets_do_not_count():
    assert mix_adjusted({"a": (1, 2), "b": (0, 0)}, {"a": 0.5, "b": 0.5}) == 0.5
    assert mix_adjusted({}, {"a": 1.0}) is None
