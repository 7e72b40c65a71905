"""Periods with their bounds, and what a selection has more of than the rest."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from omninode.analytics.errors import contrasts
from omninode.analytics.period import Period, bounded, bucket_width
from omninode.core.errors import InvalidArgumentError
from omninode.testing.clock import FakeClock

pytestmark = pytest.mark.unit

START = datetime(2026, 3, 1, 10, 20, tzinfo=UTC)


def test_buckets_begin_on_the_hour_and_cover_the_period():
    starts = Period(since=START, until=START + timedelta(hours=2)).starts("hour")
    assert [start.hour for start in starts] == [10, 11, 12]
    assert all(start.minute == 0 for start in starts)


def test_the_last_days_end_now():
    period = Period.last(days=2, clock=FakeClock())
    assert period.until - period.since == timedelta(days=2, minutes=1)


@pytest.mark.parametrize(("days", "hours"), [(0, 0), (-1, 0), (401, 0)])
def test_empty_and_endless_periods_are_refused(days, hours):
    with pytest.raises(InvalidArgumentError, match="400 days"):
        Period(since=START, until=START + timedelta(days=days, hours=hours))


def test_moments_need_a_zone_limits_a_range_and_buckets_a_name():
    with pytest.raises(InvalidArgumentError, match="know their zone"):
        Period(since=datetime(2026, 1, 1), until=datetime(2026, 1, 2))  # noqa: DTZ001
    with pytest.raises(InvalidArgumentError, match="ask for 1 to 10"):
        bounded(0, most=10)
    with pytest.raises(InvalidArgumentError, match="none of minute, hour, day"):
        bucket_width("week")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match="wider buckets"):
        Period(since=START, until=START + timedelta(days=30)).starts("minute")


def test_what_is_common_in_the_selection_comes_first():
    found = contrasts(
        [
            ("deployment", "eu", 40, 10),
            ("deployment", "us", 10, 90),
            ("phase", "gather", 25, 50),
            ("phase", "report", 25, 50),
        ]
    )
    assert [(entry.attribute, entry.value) for entry in found] == [("deployment", "eu"), ("deployment", "us")]
    assert (found[0].share, found[0].share_elsewhere) == (0.8, 0.1)


def test_rare_values_and_lonely_attributes_tell_nothing():
    assert contrasts([("agent", "a", 4, 0), ("agent", "b", 0, 4)]) == ()
    assert contrasts([("agent", "a", 50, 0)]) == ()
    assert contrasts([]) == ()


def test_many_equal_attributes_raise_hardly_any_false_contrast():
    random = np.random.default_rng(7)
    false = 0
    for _ in range(50):
        counts = []
        for number in range(20):
            inside, outside = int(random.binomial(100, 0.5)), int(random.binomial(400, 0.5))
            counts += [(f"a{number}", "x", inside, outside), (f"a{number}", "y", 100 - inside, 400 - outside)]
        false += bool(contrasts(counts))
    # The false discovery rate is held at 5 %; 50 rounds leave some room around 2.5.
    assert false <= 8
