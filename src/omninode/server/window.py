"""The stretch of time a page is about, chosen by `?range=`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

__all__ = ["RANGES", "Window"]

# Name, length and width of one bucket: about 60 to 96 buckets each, none of less than the minute that rollups tell.
RANGES: Final = {
    "15m": ("15 minutes", timedelta(minutes=15), timedelta(minutes=1)),
    "1h": ("hour", timedelta(hours=1), timedelta(minutes=1)),
    "6h": ("6 hours", timedelta(hours=6), timedelta(minutes=5)),
    "24h": ("24 hours", timedelta(hours=24), timedelta(minutes=20)),
    "7d": ("7 days", timedelta(days=7), timedelta(hours=2)),
    "30d": ("30 days", timedelta(days=30), timedelta(hours=8)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """[since, until), cut into buckets of the width `bucket`."""

    key: str
    label: str
    since: datetime
    until: datetime
    bucket: timedelta

    @classmethod
    def parse(cls, key: str | None, *, now: datetime, default: str = "24h") -> Window:
        """The window named `key`, ending now; the default for a name that is not known."""
        chosen = key if key in RANGES else default
        label, length, bucket = RANGES[chosen]
        # Whole buckets, so that the chart does not flicker as time goes on; the last one ends in the future.
        width = bucket.total_seconds()
        until = datetime.fromtimestamp((now.timestamp() // width + 1) * width, tz=now.tzinfo)
        return cls(key=chosen, label=label, since=until - length, until=until, bucket=bucket)

    @property
    def hours(self) -> float:
        """Its length."""
        return (self.until - self.since).total_seconds() / 3600

    def buckets(self) -> list[datetime]:
        """The beginnings of all buckets."""
        return [self.since + index * self.bucket for index in range(round((self.until - self.since) / self.bucket))]

    def as_json(self) -> dict[str, object]:
        """For the answer: every number says what stretch it is about."""
        return {
            "range": self.key,
            "label": self.label,
            "since": self.since,
            "until": self.until,
            "bucket_s": int(self.bucket.total_seconds()),
        }
