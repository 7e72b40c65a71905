"""Trends: the same numbers over time, and when one of them changed for good."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import Final

from omninode.analytics.period import Bucket, Period
from omninode.analytics.trends import Figure, Subject, TrendAnalytics
from omninode.server.pages.now import GAUGES, series
from omninode.server.pages.question import Panel, Question

__all__ = ["load"]

# What is watched for a change of level, and how it is called.
_WATCHED: Final[tuple[tuple[str, Subject, Figure], ...]] = (
    ("call time, p95", "calls", "p95_ms"),
    ("calls failed", "calls", "error_rate"),
    ("run time, p95", "runs", "p95_ms"),
    ("runs failed", "runs", "error_rate"),
)
_AT_LEAST: Final = timedelta(days=7)


async def load(question: Question) -> Panel:
    """One entry per bucket: runs, calls, durations, errors, cost, the process's resources; and the changes of level."""
    buckets = await series(question)
    rows = await question.windowed("server_now.gauge_series", question.window.bucket, [name for name, _ in GAUGES])
    values = {(row["metric"], row["bucket"]): row["value"] for row in rows}
    for bucket in buckets:
        bucket["resources"] = {name: values.get((name, bucket["at"])) for name, _ in GAUGES}
    measured = {metric for metric, _ in values}
    return {
        "series": buckets,
        "gauges": [(name, label, _unit(name)) for name, label in GAUGES if name in measured],
        "changes": await _changes(question),
        "calls": sum(bucket["calls"] for bucket in buckets),
        "runs": sum(bucket["runs"] for bucket in buckets),
        "newest": max((bucket["at"] for bucket in buckets if bucket["calls"] or bucket["runs"]), default=None),
    }


async def _changes(question: Question) -> list[Panel]:
    window = question.window
    period = Period(since=min(window.since, window.until - _AT_LEAST), until=window.until)
    bucket: Bucket = "hour"
    found: list[Panel] = []
    for label, subject, figure in _WATCHED:
        trend = await TrendAnalytics(question.database).trend(subject, figure=figure, bucket=bucket, period=period)
        found.append(
            {
                "label": label,
                "figure": figure,
                "note": trend.note,
                "days": (period.until - period.since) / timedelta(days=1),
                "changes": [asdict(change) for change in trend.changes],
            }
        )
    return found


def _unit(metric: str) -> str:
    ending = metric.rsplit("_", 1)[-1]
    return ending if ending in {"bytes", "ms"} else "count"
