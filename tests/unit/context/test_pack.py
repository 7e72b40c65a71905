"""Packing into a budget, against the exact optimum."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omninode.context.item import ContextItem
from omninode.context.pack import Shares, pack
from omninode.core.errors import InvalidArgumentError

pytestmark = pytest.mark.unit


def item(identity: str, tokens: int, score: float = 1.0, content: str = "text") -> ContextItem:
    return ContextItem(id=identity, source="s", context_type="t", content=content, tokens=tokens, score=score)


def optimum(items: list[ContextItem], budget: int) -> float:
    best = [0.0] * (budget + 1)
    for entry in items:
        for room in range(budget, entry.tokens - 1, -1):
            best[room] = max(best[room], best[room - entry.tokens] + entry.score)
    return best[budget]


instances = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 50)), max_size=12).map(
    lambda pairs: [item(str(n), tokens, float(score)) for n, (tokens, score) in enumerate(pairs)]
)


@given(instances, st.integers(0, 120))
def test_greedy_packing_keeps_the_budget_and_half_the_optimum(items: list[ContextItem], budget: int) -> None:
    packed = pack(items, budget, method="greedy")
    assert packed.tokens == sum(entry.tokens for entry in packed.items) <= budget
    assert packed.value == sum(entry.score for entry in packed.items)
    assert packed.value >= 0.5 * optimum(items, budget)
    assert sorted(entry.id for entry in (*packed.items, *packed.left_out)) == sorted(entry.id for entry in items)


@given(instances, st.integers(0, 120), st.sets(st.integers(0, 11).map(str)))
def test_must_items_come_first_and_never_break_the_budget(items, budget, must) -> None:
    packed = pack(items, budget, must=must)
    assert packed.tokens <= budget
    taken = {entry.id for entry in packed.items}
    wanted = [entry for entry in items if entry.id in must]
    assert set(packed.missed_must) == {entry.id for entry in wanted} - taken
    if sum(entry.tokens for entry in wanted) <= budget:
        assert packed.missed_must == ()


@given(instances, st.integers(0, 120))
def test_packing_is_the_optimum_where_that_is_cheap(items: list[ContextItem], budget: int) -> None:
    packed = pack(items, budget)
    assert packed.tokens <= budget
    assert packed.value == optimum(items, budget)


def test_greedy_packing_is_close_to_the_optimum_on_average() -> None:
    draw = random.Random(7)
    ratios = []
    for _ in range(200):
        items = [item(str(n), draw.randint(1, 40), float(draw.randint(1, 50))) for n in range(12)]
        ratios.append(pack(items, 100, method="greedy").value / optimum(items, 100))
    assert sum(ratios) / len(ratios) >= 0.98
    assert min(ratios) >= 0.8


def test_instance_too_large_for_the_exact_table_is_packed_greedily() -> None:
    items = [item(str(n), 90_000 + n, float(n)) for n in range(1, 60)]
    packed = pack(items, 1_000_000)
    assert packed.tokens <= 1_000_000
    assert len(packed.items) == 11


def test_one_large_good_item_is_not_lost_to_a_small_poor_one() -> None:
    packed = pack([item("small", 1, 1.1), item("large", 100, 100.0)], 100, method="greedy")
    assert [entry.id for entry in packed.items] == ["large"]


def test_items_come_best_first() -> None:
    packed = pack([item("c", 1, 1.0), item("a", 5, 9.0), item("b", 3, 5.0)], 100)
    assert [entry.id for entry in packed.items] == ["a", "b", "c"]


def test_worthless_items_are_left_out() -> None:
    assert pack([item("a", 1, 0.0)], 10).items == ()


def test_value_may_come_from_outside() -> None:
    packed = pack([item("a", 5, 9.0), item("b", 5, 1.0)], 5, value=lambda entry: float(entry.id == "b"))
    assert [entry.id for entry in packed.items] == ["b"]


def test_negative_budget_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="budget"):
        pack([], -1)


async def test_each_task_gets_the_share_that_bears_on_it() -> None:
    items = [
        item("retry", 10, 0.5, "RetryManager waits with backoff between attempts"),
        item("pool", 10, 0.5, "the connection pool of the database"),
        item("css", 10, 0.5, "margins of the dashboard page"),
    ]
    shares = await Shares.of(items)
    assert [entry.id for entry in shares.share("test the retry backoff", 10).items] == ["retry"]
    assert [entry.id for entry in shares.share("size of the database connection pool", 10).items] == ["pool"]
    assert [entry.id for entry in shares.share("retry backoff", 20, must=["css"]).items] == ["retry", "css"]


def test_task_that_nothing_bears_on_gets_the_best_ranked() -> None:
    shares = Shares([item("low", 10, 0.1), item("high", 10, 0.9)])
    assert [entry.id for entry in shares.share("zzz", 10).items] == ["high"]
    assert shares.relevance("zzz") == {"low": 0.0, "high": 0.0}
