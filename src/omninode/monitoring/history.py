"""What the database knows of a run, and how that joins with what memory knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import orjson

from omninode.core.deadline import Deadline, within
from omninode.monitoring.runs import PhaseMetric, RunMetrics, RunTotals, SourceMetric

__all__ = ["Queries", "StoredMetrics", "merged", "stored_metrics"]

_READ_TIMEOUT_S = 5.0


class Queries(Protocol):
    """What the rooms above `storage` read with: its `Database`."""

    async def fetch(self, name: str, *args: object) -> Sequence[Any]:  # Any: the driver's rows, read by column name
        """The rows of the named statement."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMetrics:
    """A run as the database tells it; `status` None when it has no row in `runs`."""

    status: str | None
    duration_ms: float | None
    phases: tuple[PhaseMetric, ...]
    sources: tuple[SourceMetric, ...]
    totals: RunTotals


async def stored_metrics(database: Queries, run_id: UUID) -> StoredMetrics:
    """Read the run within five seconds; raises DatabaseError, RefusedError or DeadlineExceededError."""
    async with within(Deadline.after(_READ_TIMEOUT_S), doing=f"read the metrics of run {run_id}"):
        rows = await database.fetch("monitoring_runs.measured", run_id)
        totals = (await database.fetch("monitoring_runs.totals", run_id))[0]
    return StoredMetrics(
        status=totals["status"],
        duration_ms=totals["duration_ms"],
        phases=tuple(_phase(row) for row in rows if row["metric"] == "phase_duration_ms"),
        sources=tuple(_source(row) for row in rows if row["metric"] == "source_duration_ms"),
        totals=RunTotals(**{name: int(totals[name] or 0) for name in RunTotals.__dataclass_fields__}),
    )


def merged(live: RunMetrics, stored: StoredMetrics | None, *, degraded: str | None = None) -> RunMetrics:
    """Both views as one: a phase that is in both counts once, and of two totals the one that has seen more holds."""
    if stored is None or (stored.status is None and not stored.phases and not stored.totals.calls):
        return replace(live, degraded=degraded)
    phases = {entry.id: entry for entry in (*stored.phases, *live.phases)}
    sources = {entry.id: entry for entry in (*stored.sources, *live.sources)}
    is_live = live.origin == "memory"
    return replace(
        live,
        origin="both" if is_live else "database",
        # Rows follow events: while memory knows the run, its word on how it stands is the later one.
        status=live.status if is_live and live.status != "running" else stored.status or live.status,
        duration_ms=live.duration_ms if live.duration_ms is not None else stored.duration_ms,
        phases=tuple(sorted(phases.values(), key=lambda entry: entry.at_ns)),
        sources=tuple(sources.values()),
        totals=_fuller(live.totals, stored.totals),
        degraded=degraded,
    )


def _fuller(live: RunTotals, stored: RunTotals) -> RunTotals:
    seen_live, seen_stored = live.calls + live.tasks + live.errors, stored.calls + stored.tasks + stored.errors
    return live if seen_live >= seen_stored else stored


def _phase(row: Any) -> PhaseMetric:  # Any: the driver's row
    labels = _labels(row["labels"])
    return PhaseMetric(
        id=row["id"],
        phase=row["phase"] or "unknown",
        at_ns=_ns(row["ts"]),
        duration_ms=row["value"],
        ok=row["ok"],
        attempt=int(labels.pop("attempt", 1)),
        error_class=labels.pop("error_class", None),
        metadata=labels,
    )


def _source(row: Any) -> SourceMetric:  # Any: the driver's row
    labels = _labels(row["labels"])
    return SourceMetric(
        id=row["id"],
        source=str(labels.get("source", "")),
        status=str(labels.get("status", "")),
        items=int(labels.get("items", 0)),
        duration_ms=row["value"],
    )


def _labels(value: Any) -> dict[str, Any]:  # Any: jsonb arrives as text or decoded, as the pool is set up
    return dict(orjson.loads(value)) if isinstance(value, str | bytes) else dict(value or {})


def _ns(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000) * 1000
