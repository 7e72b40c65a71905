"""A histogram in one number: what goes in comes out, whatever was added up on the way."""

from __future__ import annotations

import math
from collections import Counter
from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omninode.analytics.latency import percentile, sketch_of
from omninode.storage.histogram import ACCURACY, EMPTY, NOTHING, bucket_of, buckets_of, histogram

pytestmark = pytest.mark.unit

VALUES = st.lists(st.floats(0, 1e15) | st.integers(0, 600_000), max_size=40)


def as_number(text: str) -> Decimal:
    with localcontext(prec=6000):
        return Decimal(text)


def as_text(number: Decimal) -> str:
    """As Postgres writes a numeric: without an exponent."""
    return f"{number:f}"


@given(VALUES, VALUES)
def test_adding_numbers_adds_histograms(first: list[float], second: list[float]) -> None:
    with localcontext(prec=6000):
        whole = as_number(histogram(first)) + as_number(histogram(second))
    expected = Counter(bucket_of(value) for value in first + second)
    counts = {number - NOTHING: count for number, count in buckets_of(as_text(whole)).items()}
    assert counts == expected


@given(st.lists(st.floats(1, 600_000), min_size=1, max_size=60), st.sampled_from([0.0, 0.5, 0.95, 0.99, 1.0]))
def test_a_percentile_is_within_the_accuracy(values: list[float], q: float) -> None:
    found = percentile(as_text(as_number(histogram(values))), q)
    assert found is not None
    exact = sorted(values)[int(q * (len(values) - 1))]
    assert abs(found - exact) <= exact * (ACCURACY + 1e-9)


def test_ten_minutes_of_milliseconds_are_134_buckets() -> None:
    assert bucket_of(600_000) - bucket_of(1) + 1 == 134


def test_nothing_measured_has_no_percentile() -> None:
    assert histogram([]) == EMPTY
    assert percentile(EMPTY, 0.5) is None
    assert percentile(None, 0.5) is None


def test_zeros_are_zeros_and_the_largest_are_kept_at_the_end() -> None:
    sketch = sketch_of([as_text(as_number(histogram([0, 0.0, -5, math.inf])))])
    assert (sketch.zeros, sketch.count) == (3, 4)
    assert bucket_of(math.inf) == bucket_of(1e300)
    assert bucket_of(math.nan) == 0
