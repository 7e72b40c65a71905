"""The stretch of time a question is about; every question has one, and none is longer than 400 days."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Self

from omninode.core.clock import Clock, SystemClock
from omninode.core.errors import InvalidArgumentError

__all__ = ["Bucket", "Period", "bounded", "bucket_width"]

Bucket = Literal["minute", "hour", "day"]

_LONGEST = timedelta(days=400)
_WIDTHS: dict[Bucket, timedelta] = {
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
}
_MAX_BUCKETS = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """From `since` (included) to `until` (left out), both aware of their zone."""

    since: datetime
    until: datetime

    def __post_init__(self) -> None:
        if self.since.tzinfo is None or self.until.tzinfo is None:
            raise InvalidArgumentError("a period needs moments that know their zone; use datetime.now(UTC)")
        if not timedelta(0) < self.until - self.since <= _LONGEST:
            raise InvalidArgumentError(f"the period {self.since} to {self.until} is empty, or longer than 400 days")

    @classmethod
    def last(cls, *, days: float = 0, hours: float = 0, clock: Clock | None = None) -> Self:
        """The `days` and `hours` up to now (what happens within the next minute counts as now)."""
        now = (clock or SystemClock()).now()
        return cls(since=now - timedelta(days=days, hours=hours), until=now + timedelta(minutes=1))

    def starts(self, bucket: Bucket) -> list[datetime]:
        """The beginning of each bucket the period touches, in UTC; at most 2,000."""
        width = bucket_width(bucket)
        count = -(-(self.until - _floor(self.since, width)) // width)
        if count > _MAX_BUCKETS:
            raise InvalidArgumentError(f"{count} buckets of a {bucket} each; ask for a shorter period or wider buckets")
        first = _floor(self.since, width)
        return [first + index * width for index in range(count)]


def bucket_width(bucket: Bucket) -> timedelta:
    """How long a bucket lasts; raises InvalidArgumentError for a name that is none."""
    try:
        return _WIDTHS[bucket]
    except KeyError:
        raise InvalidArgumentError(f"bucket {bucket!r} is none of {', '.join(_WIDTHS)}") from None


def bounded(limit: int, *, most: int) -> int:
    """`limit`, refused with InvalidArgumentError outside 1 to `most`."""
    if not 1 <= limit <= most:
        raise InvalidArgumentError(f"limit is {limit}; ask for 1 to {most}")
    return limit


def _floor(moment: datetime, width: timedelta) -> datetime:
    epoch = datetime.fromtimestamp(0, tz=moment.tzinfo)
    return moment - (moment - epoch) % width
