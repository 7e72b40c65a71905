"""The columns an index needs, read from filters as the server prints them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omninode.storage.candidates import candidate_columns
from omninode.storage.plans import FullScan, Plan

_COLUMNS = ("run_id", "ts", "metric", "ok", "Odd name", "value")


def _scan(text: str, *sorts_by: str) -> FullScan:
    return FullScan(table="facts", rows=50_000, filter=text, sorts_by=sorts_by)


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("(run_id = $1)", ("run_id",)),
        ("((metric)::text = $1)", ("metric",)),
        ("((ts > $2) AND (run_id = $1))", ("run_id", "ts")),
        ("((ts >= $1) AND (ts < $2))", ("ts",)),
        ("(run_id = ANY ($1))", ("run_id",)),
        ("(facts.run_id = $1)", ("run_id",)),
        ('("Odd name" = $1)', ("Odd name",)),
        ("((metric = 'a AND (b'::text) AND (run_id = $1))", ("metric", "run_id")),
        ("((run_id = $1) OR (metric = $2))", ()),
        ("((run_id = $1) AND ((metric = $2) OR ok))", ("run_id",)),
        ("(lower(metric) = $1)", ()),
        ("(metric ~~ $1)", ()),
        ("(other = $1)", ()),
        ("ok", ()),
        ("(NOT ok)", ()),
        ("(value <> $1)", ()),
    ],
)
def test_what_every_row_must_fulfil_becomes_columns(text: str, columns: tuple[str, ...]) -> None:
    assert candidate_columns(_scan(text), columns=_COLUMNS) == columns


def test_the_order_wanted_comes_last_unless_there_is_a_range() -> None:
    assert candidate_columns(_scan("(run_id = $1)", "facts.ts DESC"), columns=_COLUMNS) == ("run_id", "ts")
    assert candidate_columns(_scan("((run_id = $1) AND (value > $2))", "ts"), columns=_COLUMNS) == ("run_id", "value")
    assert candidate_columns(_scan("(run_id = $1)", "(lower(metric))"), columns=_COLUMNS) == ("run_id",)


@given(st.text(alphabet="()'\" ANDOR=<>$1abts_", max_size=40))
def test_no_filter_is_too_odd(text: str) -> None:
    assert set(candidate_columns(_scan(text), columns=_COLUMNS)) <= set(_COLUMNS)


def test_children_of_one_table_count_together_and_leave_the_shape_alone() -> None:
    def scan(table: str) -> dict[str, object]:
        return {"Node Type": "Seq Scan", "Relation Name": table, "Filter": "(run_id = $1)", "Total Cost": 5.0}

    sizes = {"facts_1": ("facts", 6_000), "facts_2": ("facts", 6_000), "facts_3": ("facts", 1)}
    plan = Plan({"Node Type": "Append", "Total Cost": 9.5, "Plans": [scan("facts_1"), scan("facts_2")]})
    more = Plan({"Node Type": "Append", "Plans": [scan("facts_1"), scan("facts_2"), scan("facts_3")]})

    assert plan.cost == 9.5
    assert plan.full_scans(sizes) == (FullScan(table="facts", rows=12_000, filter="(run_id = $1)"),)
    assert plan.shape(sizes) == more.shape(sizes) == "Append (Seq Scan facts)"
