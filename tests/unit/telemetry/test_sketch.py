"""The sketch keeps its accuracy, adds up, and survives storage."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omninode.core.errors import InvalidArgumentError
from omninode.telemetry.sketch import Sketch

pytestmark = pytest.mark.unit

values = st.lists(st.floats(min_value=0, max_value=1e9, allow_nan=False), min_size=1, max_size=200)
quantiles = st.floats(min_value=0, max_value=1)


def sketch_of(numbers) -> Sketch:
    sketch = Sketch()
    for number in numbers:
        sketch.add(number)
    return sketch


@given(values, quantiles)
def test_a_quantile_is_within_one_per_cent_of_the_value_of_its_rank(numbers, q):
    exact = sorted(numbers)[math.floor(q * (len(numbers) - 1))]
    found = sketch_of(numbers).quantile(q)
    assert found == pytest.approx(exact, rel=0.0101, abs=1e-9)


@given(values, values, quantiles)
def test_merging_is_the_same_as_adding_everything_to_one(one, other, q):
    merged = sketch_of(one).merge(sketch_of(other))
    whole = sketch_of(one + other)
    assert merged.quantile(q) == whole.quantile(q)
    assert (merged.count, merged.zeros) == (whole.count, whole.zeros)
    assert merged.total == pytest.approx(whole.total)


@given(values, quantiles)
def test_a_stored_sketch_comes_back_as_it_was(numbers, q):
    sketch = sketch_of(numbers)
    back = Sketch.unpack(sketch.pack())
    assert (back.count, back.total, back.quantile(q)) == (sketch.count, sketch.total, sketch.quantile(q))


def test_an_empty_sketch_has_no_quantiles_and_no_mean():
    sketch = Sketch()
    assert (sketch.quantile(0.5), sketch.mean, Sketch.unpack(sketch.pack()).count) == (None, None, 0)


def test_extremes_share_the_outermost_buckets():
    sketch = sketch_of([0.0, -5.0, 1e-15, 1e300])
    assert (sketch.zeros, sketch.count) == (3, 4)
    assert len(sketch.pack().counts) == 4
    assert sketch.quantile(0) == 0.0


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(InvalidArgumentError, match="NaN"):
        Sketch().add(math.nan)
    with pytest.raises(InvalidArgumentError, match="do not add up"):
        Sketch().merge(Sketch(accuracy=0.02))
    with pytest.raises(InvalidArgumentError, match="quantile"):
        Sketch().quantile(1.5)
    with pytest.raises(InvalidArgumentError, match="accuracy"):
        Sketch(accuracy=0)
