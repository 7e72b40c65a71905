"""How figures move over time, and when they changed for good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from omninode.analytics.latency import percentile
from omninode.analytics.period import Bucket, Period, bucket_width
from omninode.analytics.source import Analytics
from omninode.core.errors import InvalidArgumentError

__all__ = ["Change", "Figure", "Subject", "Trend", "TrendAnalytics", "TrendPoint"]

Subject = Literal["calls", "runs", "phases", "errors", "metric"]
Figure = Literal["count", "error_rate", "p50_ms", "p95_ms", "tokens", "cost_uusd"]

_SUBJECTS: tuple[Subject, ...] = ("calls", "runs", "phases", "errors", "metric")
_FIGURES: tuple[Figure, ...] = ("count", "error_rate", "p50_ms", "p95_ms", "tokens", "cost_uusd")
_DAY_IN: dict[Bucket, int | None] = {"minute": None, "hour": 24, "day": 7}
# With fewer events than this a bucket's percentile is luck.
_MIN_COUNT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendPoint:
    """One bucket; percentiles None when nothing happened in it. For subject "metric" they are in the metric's unit."""

    start: datetime
    count: int
    failed: int
    p50_ms: float | None
    p95_ms: float | None
    tokens: int
    cost_uusd: int

    @property
    def error_rate(self) -> float | None:
        """The share that failed; None when nothing happened."""
        return self.failed / self.count if self.count else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """At `at` the figure went from about `before` to about `after`; `shift` is relative, +0.2 for 20 % more."""

    at: datetime
    before: float
    after: float
    shift: float
    p_value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """A figure over a period; `note` says why no change can be told, empty when one could be."""

    subject: Subject
    name: str | None
    figure: Figure
    bucket: Bucket
    period: Period
    points: tuple[TrendPoint, ...]
    changes: tuple[Change, ...]
    note: str

    @property
    def values(self) -> tuple[float | None, ...]:
        """The figure per bucket, None where it does not exist."""
        return tuple(_value(point, self.figure) for point in self.points)


class TrendAnalytics(Analytics):
    """Series over time; percentiles are within 5 %. What is older than two days is known per hour."""

    async def trend(
        self,
        subject: Subject,
        *,
        figure: Figure = "p95_ms",
        name: str | None = None,
        bucket: Bucket = "hour",
        period: Period | None = None,
    ) -> Trend:
        """The series of `figure` for calls, runs, phases, errors or one stored metric, with its changes of level.

        `name` narrows to one model (calls), workspace (runs), phase (phases), fingerprint (errors); "metric" needs
        the metric's. The period is 7 days unless given. Raises InvalidArgumentError for what does not exist.
        """
        if subject not in _SUBJECTS or figure not in _FIGURES:
            raise InvalidArgumentError(
                f"no trend of {figure!r} for {subject!r}; subjects are {', '.join(_SUBJECTS)}, "
                f"figures {', '.join(_FIGURES)}"
            )
        if subject == "metric" and not name:
            raise InvalidArgumentError("a trend of subject 'metric' needs name, such as 'loop_lag_ms'")
        when = period or self._last(days=7)
        starts = when.starts(bucket)
        rows = await self._fetch(f"analytics_trends.{subject}", bucket_width(bucket), when.since, when.until, name)
        known = {row["start"]: row for row in rows}
        points = tuple(_point(start, known.get(start)) for start in starts)
        # The last bucket is not over yet.
        changes, note = _changes(points[:-1], figure, bucket)
        return Trend(
            subject=subject,
            name=name,
            figure=figure,
            bucket=bucket,
            period=when,
            points=points,
            changes=changes,
            note=note,
        )


def _point(start: datetime, row: Any) -> TrendPoint:  # Any: the driver's row, None for an empty bucket
    if row is None:
        return TrendPoint(start=start, count=0, failed=0, p50_ms=None, p95_ms=None, tokens=0, cost_uusd=0)
    return TrendPoint(
        start=start,
        count=row["count"],
        failed=row["failed"],
        p50_ms=percentile(row["latency"], 0.5),
        p95_ms=percentile(row["latency"], 0.95),
        tokens=row["tokens"] or 0,
        cost_uusd=row["cost_uusd"] or 0,
    )


def _value(point: TrendPoint, figure: Figure) -> float | None:
    value = getattr(point, figure)
    return None if value is None else float(value)


def _changes(points: Sequence[TrendPoint], figure: Figure, bucket: Bucket) -> tuple[tuple[Change, ...], str]:
    from omninode.analytics.changepoints import changepoints

    # A bucket in which hardly anything happened tells its count, and nothing else.
    values = [_value(point, figure) if figure == "count" or point.count >= _MIN_COUNT else None for point in points]
    told = sum(value is not None for value in values)
    if told < 24:
        return (), f"only {told} buckets have enough data; a change of level can be told from 24 on"
    found = changepoints(values, season=_DAY_IN[bucket])
    return tuple(
        Change(
            at=points[change.index].start,
            before=change.before,
            after=change.after,
            shift=change.shift,
            p_value=change.p_value,
        )
        for change in found
    ), ""
