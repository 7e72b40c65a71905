"""What is going on now: rates and response times over the last minute, from events.

The minute is a ring of one-second slots with counts and sketches, so that adding an event costs about a microsecond
and old seconds fall away by themselves.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from omninode.core.clock import Clock, SystemClock
from omninode.core.events import (
    AgentOutcome,
    BreakerChanged,
    CallFinished,
    ErrorOccurred,
    Event,
    MetricRecorded,
    PhaseFinished,
    RunFinished,
    SourceFinished,
    TaskFinished,
)
from omninode.telemetry.sketch import Sketch

__all__ = ["LiveWindow", "Rate", "Snapshot"]

Kind = Literal["run", "phase", "task", "call", "source", "agent", "metric"]

# How many names (phases, models, metrics) one second remembers apart; what comes beyond shares the name "other".
_MAX_NAMES = 256
_OPERATIONS: tuple[Kind, ...] = ("phase", "task", "call", "source")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """One kind of operation in the window: how many, how well, how fast. Milliseconds; None without any."""

    name: str
    count: int
    failed: int
    per_second: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None

    @property
    def success_rate(self) -> float | None:
        """The share that ended well, 0 to 1; None without any."""
        return (self.count - self.failed) / self.count if self.count else None

    @property
    def error_rate(self) -> float | None:
        """The share that failed, 0 to 1; None without any."""
        return self.failed / self.count if self.count else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The last `window_s` seconds. `overall` counts phases, tasks, calls and sources together."""

    at_ns: int
    window_s: float
    overall: Rate
    kinds: Mapping[str, Rate]
    phases: Mapping[str, Rate]
    models: Mapping[str, Rate]
    agents: Mapping[str, Rate]
    metrics: Mapping[str, float]
    metric_p95: Mapping[str, float]
    errors: int
    open_breakers: tuple[str, ...]

    def values(self) -> dict[str, float]:
        """Every figure under one flat name, for thresholds; figures that do not exist now are left out.

        Names: `error_rate`, `throughput_per_s`, `operation_p50_ms`…; the same with `run_`, `phase_`, `task_`,
        `call_`, `source_` before; per phase `phase.<name>.p95_ms`; each metric's last value under its own name and
        its 95th percentile under `<metric>.p95`; `errors`, `open_breakers`.
        """
        flat = dict(self.metrics)
        flat.update({f"{name}.p95": value for name, value in self.metric_p95.items()})
        flat |= _flat("operation_", self.overall)
        for name, rate in self.kinds.items():
            flat |= _flat(f"{name}_", rate)
        for name, rate in self.phases.items():
            flat |= _flat(f"phase.{name}.", rate)
        flat["throughput_per_s"] = self.overall.per_second
        if self.overall.error_rate is not None:
            flat["error_rate"] = self.overall.error_rate
        flat["errors"] = float(self.errors)
        flat["open_breakers"] = float(len(self.open_breakers))
        return flat


def _flat(prefix: str, rate: Rate) -> dict[str, float]:
    figures = {
        "per_s": rate.per_second,
        "count": float(rate.count),
        "error_rate": rate.error_rate,
        "p50_ms": rate.p50_ms,
        "p95_ms": rate.p95_ms,
        "p99_ms": rate.p99_ms,
    }
    return {f"{prefix}{name}": value for name, value in figures.items() if value is not None}


@dataclass(slots=True)
class _Cell:
    failed: int = 0
    sketch: Sketch = field(default_factory=Sketch)


@dataclass(slots=True)
class _Slot:
    second: int
    cells: dict[tuple[Kind, str], _Cell] = field(default_factory=dict)
    errors: int = 0

    def cell(self, kind: Kind, name: str) -> _Cell:
        key = (kind, name)
        if key not in self.cells and len(self.cells) >= _MAX_NAMES:
            key = (kind, "other")
        return self.cells.setdefault(key, _Cell())


class LiveWindow:
    """The sliding window behind `Snapshot`; may be fed and read from several threads."""

    def __init__(self, *, window_s: int = 60, clock: Clock | None = None) -> None:
        self._window_s = window_s
        self._clock = clock or SystemClock()
        self._slots: deque[_Slot] = deque()
        self._metrics: dict[str, float] = {}
        self._open_breakers: dict[str, None] = {}
        self._started = self._clock.monotonic()
        self._lock = threading.Lock()

    def add(self, event: Event) -> None:
        """Count `event`, when it is of a kind that tells something about rates or times."""
        with self._lock:
            slot = self._slot()
            for kind, name, duration, failed in _measured(event):
                cell = slot.cell(kind, name)
                cell.sketch.add(duration)
                cell.failed += failed
            if isinstance(event, MetricRecorded) and (len(self._metrics) < _MAX_NAMES or event.metric in self._metrics):
                self._metrics[event.metric] = event.value
            elif isinstance(event, ErrorOccurred):
                slot.errors += 1
            elif isinstance(event, BreakerChanged):
                self._note_breaker(event)

    def snapshot(self) -> Snapshot:
        """The window as it is now."""
        with self._lock:
            self._slot()
            lived = self._clock.monotonic() - self._started
            span = min(float(self._window_s), max(1.0, lived))
            cells = [(key, cell) for slot in self._slots for key, cell in slot.cells.items()]
            metrics = _by_name("metric", cells, span)
            return Snapshot(
                at_ns=int(self._clock.now().timestamp() * 1e9),
                window_s=span,
                overall=_rate("all", [cell for (kind, _), cell in cells if kind in _OPERATIONS], span),
                kinds={
                    kind: _rate(kind, [cell for (one, _), cell in cells if one == kind], span)
                    for kind in ("run", *_OPERATIONS)
                },
                phases=_by_name("phase", cells, span),
                models=_by_name("call", cells, span),
                agents=_by_name("agent", cells, span),
                metrics=dict(self._metrics),
                metric_p95={name: rate.p95_ms for name, rate in metrics.items() if rate.p95_ms is not None},
                errors=sum(slot.errors for slot in self._slots),
                open_breakers=tuple(self._open_breakers),
            )

    def _slot(self) -> _Slot:
        second = int(self._clock.monotonic())
        while self._slots and self._slots[0].second <= second - self._window_s:
            self._slots.popleft()
        if not self._slots or self._slots[-1].second < second:
            self._slots.append(_Slot(second))
        return self._slots[-1]

    def _note_breaker(self, event: BreakerChanged) -> None:
        self._open_breakers.pop(event.breaker, None)
        if event.after == "open" and len(self._open_breakers) < _MAX_NAMES:
            self._open_breakers[event.breaker] = None


def _measured(event: Event) -> Iterable[tuple[Kind, str, float, bool]]:
    match event:
        case PhaseFinished():
            return [("phase", event.phase or "unknown", event.duration_ms, not event.ok)]
        case CallFinished(was_stopped=False):
            return [("call", event.model, event.duration_ms, not event.ok)]
        case TaskFinished(status="ok" | "failed"):
            return [("task", event.task_type, event.duration_ms, event.status == "failed")]
        case AgentOutcome():
            return [("agent", event.agent_id, event.duration_ms, not event.success)]
        case SourceFinished(status="ok" | "failed" | "late"):
            return [("source", event.source, event.duration_ms, event.status != "ok")]
        case RunFinished():
            return [("run", "run", event.duration_ms, event.status in {"failed", "failed_tasks"})]
        case MetricRecorded():
            return [("metric", event.metric, max(0.0, event.value), not event.ok)]
        case _:
            return []


def _by_name(kind: Kind, cells: list[tuple[tuple[Kind, str], _Cell]], span: float) -> dict[str, Rate]:
    groups: dict[str, list[_Cell]] = {}
    for (one, name), cell in cells:
        if one == kind:
            groups.setdefault(name, []).append(cell)
    return {name: _rate(name, group, span) for name, group in sorted(groups.items())}


def _rate(name: str, cells: list[_Cell], span: float) -> Rate:
    sketch = Sketch.merged(cell.sketch for cell in cells)
    return Rate(
        name=name,
        count=sketch.count,
        failed=sum(cell.failed for cell in cells),
        per_second=sketch.count / span,
        p50_ms=sketch.quantile(0.5),
        p95_ms=sketch.quantile(0.95),
        p99_ms=sketch.quantile(0.99),
    )
