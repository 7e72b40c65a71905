"""Which children a table still needs."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omninode.storage.partitions import Child, floor, missing_children

pytestmark = pytest.mark.unit

EPOCH = datetime.fromtimestamp(0, tz=UTC)
MOMENTS = st.integers(0, 20_000 * 24).map(lambda hours: EPOCH + timedelta(hours=hours))
WIDTHS = st.sampled_from([timedelta(days=1), timedelta(days=7)])


def child(since: datetime, until: datetime) -> Child:
    return Child(parent="t", name="t_p", since=since, until=until)


def test_a_table_without_children_needs_one_for_each_moment() -> None:
    day = timedelta(days=1)
    noon = datetime(2026, 3, 10, 12, tzinfo=UTC)
    midnight = datetime(2026, 3, 10, tzinfo=UTC)
    assert missing_children([], day, [noon, noon + day]) == (
        (midnight, midnight + day),
        (midnight + day, midnight + 2 * day),
    )


def test_the_default_child_covers_nothing() -> None:
    default = Child(parent="t", name="t_default", since=None, until=None)
    assert len(missing_children([default], timedelta(days=1), [EPOCH])) == 1


@given(st.lists(st.tuples(WIDTHS, st.lists(MOMENTS, max_size=6)), max_size=6))
def test_children_never_overlap_and_the_last_wishes_are_covered_whatever_the_widths_were(
    turns: list[tuple[timedelta, list[datetime]]],
) -> None:
    known: list[Child] = []
    for width, moments in turns:
        for since, until in missing_children(known, width, moments):
            assert since < until <= floor(since, width) + width
            known.append(child(since, until))
    ordered = sorted((one.since, one.until) for one in known if one.since and one.until)
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(ordered))
    if turns:
        width, moments = turns[-1]
        assert missing_children(known, width, moments) == ()
