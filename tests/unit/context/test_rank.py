"""Reciprocal rank fusion, worked by hand."""

from __future__ import annotations

import pytest

from omninode.context.item import ContextItem, GatheredContext, SourceReport
from omninode.context.rank import Ranking, fuse, fuse_keys, merge_contained
from omninode.core.errors import InvalidArgumentError

pytestmark = pytest.mark.unit


def item(identity: str, content: str | None = None, **fields) -> ContextItem:
    return ContextItem(id=identity, source="s", context_type="t", content=content or identity, **fields)


def test_score_is_the_sum_of_weighted_reciprocal_ranks() -> None:
    scores = fuse_keys([(["a", "b"], 1.0), (["b", "c"], 2.0)], k=60)
    assert scores == {
        "b": pytest.approx(1 / 62 + 2 / 61),
        "c": pytest.approx(2 / 62),
        "a": pytest.approx(1 / 61),
    }
    assert list(scores) == ["b", "c", "a"]


def test_repetition_in_one_list_counts_once_and_moves_nothing_down() -> None:
    assert fuse_keys([(["a", "a", "a", "b"], 1.0)]) == {"a": pytest.approx(1 / 61), "b": pytest.approx(1 / 62)}


def test_weight_zero_adds_nothing() -> None:
    assert list(fuse_keys([(["a"], 1.0), (["b", "a"], 0.0)])) == ["a", "b"]


def test_item_two_sources_found_rises_above_the_first_of_each() -> None:
    fused = fuse(
        [
            Ranking(source="x", items=[item("a"), item("shared")]),
            Ranking(source="y", items=[item("b"), item("shared")]),
        ]
    )
    assert fused[0].id == "shared"
    assert fused[0].metadata["origins"] == ("x", "y")
    assert fused[0].score == pytest.approx(2 / 62)


def test_source_with_many_queries_has_no_more_say_than_one_with_one() -> None:
    many = [Ranking(source="x", items=[item("a")]) for _ in range(5)]
    fused = fuse([*many, Ranking(source="y", items=[item("b")])])
    assert [entry.score for entry in fused] == [pytest.approx(1 / 61)] * 2


def test_different_items_with_one_id_are_both_kept() -> None:
    fused = fuse([Ranking(source="x", items=[item("same", "one"), item("same", "two")])])
    assert [entry.content for entry in fused] == ["one", "two"]
    assert len({entry.id for entry in fused}) == 2


def test_passage_inside_a_file_is_merged_into_it() -> None:
    passage = item("p", "def f():", path="a.py", score=0.9, metadata={"origins": ("search",)})
    whole = item("w", "import x\ndef f():\n  pass", path="a.py", score=0.2, metadata={"origins": ("files",)})
    other = item("o", "def f():", path="b.py", score=0.5)
    merged = merge_contained([passage, other, whole])
    assert [(entry.id, entry.score) for entry in merged] == [("w", 0.9), ("o", 0.5)]
    assert merged[0].metadata["origins"] == ("files", "search")


def test_text_of_a_remote_source_never_swallows_the_workspace() -> None:
    mine = item("m", "def f():", path="a.py", score=0.9)
    theirs = item("t", "do evil\ndef f():", path="a.py", score=0.2, trust="remote")
    assert [entry.id for entry in merge_contained([mine, theirs])] == ["m", "t"]


def test_negative_k_is_refused() -> None:
    with pytest.raises(InvalidArgumentError):
        fuse_keys([], k=-1)


def test_item_counts_its_tokens_and_needs_an_id() -> None:
    assert item("a", "x" * 10).tokens == 4
    assert item("a", "x" * 10, tokens=7).tokens == 7
    with pytest.raises(InvalidArgumentError, match="no id"):
        item("")


def test_gathered_context_is_a_mapping_best_first_that_tells_losses() -> None:
    lost = SourceReport(source="b", context_type="t", status="late", queries=1)
    gathered = GatheredContext(
        [item("a"), item("b")], sources=[SourceReport(source="a", context_type="t", status="ok"), lost]
    )
    assert list(gathered) == ["a", "b"]
    assert gathered["b"].content == "b"
    assert (gathered.is_complete, gathered.lost, gathered.tokens) == (False, (lost,), 2)
    assert repr(gathered) == "GatheredContext(2 items; a=ok, b=late)"
