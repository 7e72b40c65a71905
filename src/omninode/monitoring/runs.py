"""What single runs measured: the newest runs in memory, added up event by event."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal
from uuid import NAMESPACE_OID, UUID, uuid5

from omninode.core.errors import InvalidArgumentError
from omninode.core.events import (
    CallFinished,
    ErrorOccurred,
    Event,
    PhaseFinished,
    RunFinished,
    SourceFinished,
    TaskFinished,
)

__all__ = ["PhaseMetric", "RunBook", "RunMetrics", "RunTotals", "SourceMetric", "as_run_id"]

_MAX_ENTRIES = 2_000


def as_run_id(run_id: UUID | str) -> UUID:
    """`run_id` as a UUID; a text that is none always becomes the same UUID, so that any name can be tracked."""
    if isinstance(run_id, UUID):
        return run_id
    if not run_id:
        raise InvalidArgumentError("run_id is empty; pass the run's UUID or a name of your own")
    try:
        return UUID(run_id)
    except ValueError:
        return uuid5(NAMESPACE_OID, f"omninode:{run_id}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseMetric:
    """One finished passage through a phase; `id` is that of its event and of its row."""

    id: UUID
    phase: str
    at_ns: int
    duration_ms: float
    ok: bool = True
    attempt: int = 1
    error_class: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)  # Any: whatever the caller noted, as JSON can hold it


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceMetric:
    """One context source's answer, or failure to answer."""

    id: UUID
    source: str
    status: str
    items: int
    duration_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTotals:
    """Sums over a run. `cost_uusd` holds the priced calls only, `unpriced_calls` counts the others."""

    calls: int = 0
    calls_failed: int = 0
    attempts: int = 0
    cache_hits: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost_uusd: int = 0
    unpriced_calls: int = 0
    tasks: int = 0
    tasks_failed: int = 0
    errors: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunMetrics:
    """What is known of one run. `degraded` says what could not be read, None when nothing is missing."""

    run_id: UUID
    origin: Literal["memory", "database", "both", "nowhere"]
    status: str | None
    duration_ms: float | None
    phases: tuple[PhaseMetric, ...]
    open_phases: tuple[str, ...]
    sources: tuple[SourceMetric, ...]
    totals: RunTotals
    degraded: str | None = None

    @property
    def phase_ms(self) -> dict[str, float]:
        """Milliseconds per phase, repetitions added up, in the order in which the phases first ended."""
        sums: dict[str, float] = {}
        for entry in self.phases:
            sums[entry.phase] = sums.get(entry.phase, 0.0) + entry.duration_ms
        return sums

    @property
    def success_rate(self) -> float | None:
        """The share of phases, calls and tasks that ended well; None when there were none."""
        whole = len(self.phases) + self.totals.calls + self.totals.tasks
        failed = sum(not entry.ok for entry in self.phases) + self.totals.calls_failed + self.totals.tasks_failed
        return (whole - failed) / whole if whole else None

    def as_dict(self) -> dict[str, Any]:  # Any: JSON
        """The same as plain data, fit for JSON, with `phase_ms` and `success_rate`."""
        return asdict(self) | {
            "run_id": str(self.run_id),
            "phases": [asdict(entry) | {"id": str(entry.id)} for entry in self.phases],
            "sources": [asdict(entry) | {"id": str(entry.id)} for entry in self.sources],
            "phase_ms": self.phase_ms,
            "success_rate": self.success_rate,
        }


@dataclass(slots=True)
class _Record:
    phases: dict[UUID, PhaseMetric] = field(default_factory=dict)
    sources: dict[UUID, SourceMetric] = field(default_factory=dict)
    sums: Counter[str] = field(default_factory=Counter)
    status: str | None = None
    duration_ms: float | None = None


class RunBook:
    """The newest `max_runs` runs; an older one is forgotten when a new one comes."""

    def __init__(self, *, max_runs: int = 256) -> None:
        self._records: OrderedDict[UUID, _Record] = OrderedDict()
        self._max_runs = max_runs
        self.forgotten = 0

    def add(self, event: Event) -> None:
        """Note `event` for its run; events outside of a run, and all beyond the bound of a run, are left out."""
        if event.run_id is None:
            return
        match event:
            case PhaseFinished():
                self._phase(self._record(event.run_id), event)
            case SourceFinished():
                self._source(self._record(event.run_id), event)
            case CallFinished():
                _call(self._record(event.run_id).sums, event)
            case TaskFinished():
                self._record(event.run_id).sums.update(tasks=1, tasks_failed=event.status == "failed")
            case ErrorOccurred():
                self._record(event.run_id).sums.update(errors=1)
            case RunFinished():
                record = self._record(event.run_id)
                record.status, record.duration_ms = event.status, event.duration_ms

    def __len__(self) -> int:
        return len(self._records)

    def repetitions(self, run_id: UUID, phase: str) -> int:
        """How often `phase` of the run has ended so far."""
        record = self._records.get(run_id)
        return sum(entry.phase == phase for entry in record.phases.values()) if record else 0

    def metrics(self, run_id: UUID, *, open_phases: tuple[str, ...] = ()) -> RunMetrics:
        """What memory knows of the run; empty, with origin "nowhere", when that is nothing."""
        record = self._records.get(run_id)
        known = record or _Record()
        return RunMetrics(
            run_id=run_id,
            origin="memory" if record or open_phases else "nowhere",
            status=known.status or ("running" if record or open_phases else None),
            duration_ms=known.duration_ms,
            phases=tuple(known.phases.values()),
            open_phases=open_phases,
            sources=tuple(known.sources.values()),
            totals=RunTotals(**known.sums),
        )

    def _record(self, run_id: UUID) -> _Record:
        record = self._records.get(run_id)
        if record is None:
            while len(self._records) >= self._max_runs:
                self._records.popitem(last=False)
                self.forgotten += 1
            record = self._records[run_id] = _Record()
        return record

    def _phase(self, record: _Record, event: PhaseFinished) -> None:
        if len(record.phases) < _MAX_ENTRIES:
            record.phases[event.id] = PhaseMetric(
                id=event.id,
                phase=event.phase or "unknown",
                at_ns=event.at_ns,
                duration_ms=event.duration_ms,
                ok=event.ok,
                attempt=event.attempt,
                error_class=event.error_class,
                metadata=event.metadata,
            )

    def _source(self, record: _Record, event: SourceFinished) -> None:
        if len(record.sources) < _MAX_ENTRIES:
            record.sources[event.id] = SourceMetric(
                id=event.id,
                source=event.source,
                status=event.status,
                items=event.items,
                duration_ms=event.duration_ms,
            )


def _call(sums: Counter[str], event: CallFinished) -> None:
    sums.update(
        calls=1,
        calls_failed=not event.ok and not event.was_stopped,
        attempts=event.attempts,
        cache_hits=event.cache in {"hit", "shared"},
        tokens_in=event.tokens_in,
        tokens_out=event.tokens_out,
        cost_uusd=event.cost_uusd or 0,
        unpriced_calls=event.cost_uusd is None,
    )
