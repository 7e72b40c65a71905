"""Measuring phases and agents, and answering how it goes: now, and in any run.

The monitor measures and emits; it also listens (`observe`, subscribed to the bus), so that its live figures include
what others emit. An event of its own that comes back from the bus is not counted twice.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from omninode.core import ambient, current
from omninode.core.clock import Clock, SystemClock
from omninode.core.errors import (
    ConfigurationError,
    DatabaseError,
    DeadlineExceededError,
    InvalidArgumentError,
    RefusedError,
)
from omninode.core.events import AgentOutcome, Event, EventSink, NullSink, PhaseFinished, PhaseStarted
from omninode.monitoring.history import Queries, merged, stored_metrics
from omninode.monitoring.runs import PhaseMetric, RunBook, RunMetrics, as_run_id
from omninode.monitoring.snapshot import LiveWindow, Snapshot
from omninode.telemetry.redact import redact

__all__ = ["MonitorStatistics", "OpenPhase", "PerformanceMonitor"]

Labels = Mapping[str, Any]  # Any: labels as JSON can hold them

_NOWHERE = NullSink()
_MAX_OPEN = 1024
_MAX_OWN = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorStatistics:
    """What the monitor holds: runs in memory, phases open, events seen; `abandoned` phases were never closed."""

    runs: int
    forgotten_runs: int
    open_phases: int
    abandoned: int
    observed: int


@dataclass(slots=True, kw_only=True)
class OpenPhase:
    """A phase that is going on; add to `metadata` what should be stored with it, call `fail` when it failed softly."""

    run_id: UUID
    phase: str
    attempt: int
    started: float
    metadata: dict[str, Any] = field(default_factory=dict)
    error_class: str | None = None

    def fail(self, error_class: str) -> None:
        """Let the phase count as failed although its body ends without raising."""
        self.error_class = error_class


class PerformanceMonitor:
    """Times phases and agents, and tells rates, response times and what a run measured.

    Without sink and database it belongs to the open runtime, or to one opened by its first awaited call
    (`core.ambient`); with a `NullSink` it measures and tells nobody. Safe to use from many tasks at once.
    """

    def __init__(
        self,
        sink: EventSink | None = None,
        database: Queries | None = None,
        clock: Clock | None = None,
        *,
        max_runs: int = 256,
    ) -> None:
        self._sink = sink
        self._database = database
        self._clock = clock or SystemClock()
        self._book = RunBook(max_runs=max_runs)
        self._window = LiveWindow(clock=self._clock)
        self._tracked: OrderedDict[tuple[UUID, str], OpenPhase] = OrderedDict()
        self._entered: dict[int, OpenPhase] = {}
        self._own: OrderedDict[UUID, None] = OrderedDict()
        self._abandoned = 0
        self._observed = 0

    @asynccontextmanager
    async def phase(
        self, run_id: UUID | str | None, name: str, *, metadata: Labels | None = None
    ) -> AsyncIterator[OpenPhase]:
        """Time the body as phase `name` of the run, inside a scope that says so.

        An exception (a cancellation too) ends the phase as failed with its class, and goes on. `run_id` None takes
        that of the current scope.
        """
        known = self._run_id(run_id)
        await self._join()
        phase = self._opened(known, name, metadata)
        self._entered[id(phase)] = phase
        try:
            with current.entered(run_id=phase.run_id, phase=name):
                yield phase
        except BaseException as error:
            phase.error_class = type(error).__name__
            raise
        finally:
            self._entered.pop(id(phase), None)
            self._finish(phase)

    async def track_phase_performance(
        self,
        run_id: UUID | str,
        phase: str,
        metadata: Labels | None = None,
        *,
        duration_ms: float | None = None,
    ) -> PhaseMetric | None:
        """Open the phase on the first call and close it on the second; with `duration_ms`, record it after the fact.

        Returns what was measured, None when the call opened the phase. Metadata of both calls is joined. For code
        that can hold an `async with`, `phase` is the better form: it cannot forget to close.
        """
        key = (as_run_id(run_id), phase)
        if duration_ms is not None and not duration_ms >= 0:
            raise InvalidArgumentError(f"phase {phase!r} took {duration_ms} ms; pass zero or more")
        await self._join()
        if duration_ms is not None:
            return self._finish(self._opened(*key, metadata, is_announced=False), duration_ms=duration_ms)
        started = self._tracked.pop(key, None)
        if started is not None:
            started.metadata.update(metadata or {})
            return self._finish(started)
        if len(self._tracked) >= _MAX_OPEN:
            self._tracked.popitem(last=False)
            self._abandoned += 1
        self._tracked[key] = self._opened(*key, metadata)
        return None

    async def track_agent_performance(
        self,
        agent_id: str,
        task_type: str,
        *,
        success: bool,
        duration_ms: float,
        run_id: UUID | str | None = None,
        error_class: str | None = None,
        metadata: Labels | None = None,
    ) -> AgentOutcome:
        """Record how an agent did on one task, and return the event that was emitted."""
        if not duration_ms >= 0:
            raise InvalidArgumentError(f"agent {agent_id!r} took {duration_ms} ms; pass zero or more")
        scope = current.scope()
        outcome = AgentOutcome(
            run_id=scope.run_id if run_id is None else as_run_id(run_id),
            phase=scope.phase,
            agent_id=agent_id,
            task_type=task_type,
            success=success,
            duration_ms=duration_ms,
            error_class=error_class,
            metadata=redact(dict(metadata or {})),
        )
        await self._join()
        self._emit(outcome)
        return outcome

    async def get_performance_metrics(self, run_id: UUID | str) -> RunMetrics:
        """What is known of the run, from memory and from the database, each phase once.

        A database that does not answer is named in `degraded`; what memory knows is returned all the same.
        """
        key = as_run_id(run_id)
        await self._join()
        in_memory = self._book.metrics(key, open_phases=self._open_phases(key))
        database = self._database or getattr(ambient.find(), "database", None)
        if database is None:
            return in_memory
        try:
            stored = await stored_metrics(database, key)
        except (ConfigurationError, DatabaseError, RefusedError, DeadlineExceededError) as error:
            return merged(in_memory, None, degraded=f"the database did not answer: {error}")
        return merged(in_memory, stored)

    def snapshot(self) -> Snapshot:
        """Rates, response times and the latest measurements of the last minute."""
        return self._window.snapshot()

    def observe(self, event: Event) -> None:
        """Take in an event that others emitted; subscribe this to the bus."""
        if event.id in self._own:
            del self._own[event.id]
            return
        self._note(event)

    def statistics(self) -> MonitorStatistics:
        """What is held now, and what was given up since the start."""
        return MonitorStatistics(
            runs=len(self._book),
            forgotten_runs=self._book.forgotten,
            open_phases=len(self._tracked) + len(self._entered),
            abandoned=self._abandoned,
            observed=self._observed,
        )

    async def _join(self) -> None:
        """See to it that there is a runtime to belong to, where nothing else was passed."""
        if self._sink is None and self._database is None:
            await ambient.runtime()

    def _run_id(self, run_id: UUID | str | None) -> UUID:
        known = current.scope().run_id if run_id is None else as_run_id(run_id)
        if known is None:
            raise InvalidArgumentError("a phase belongs to a run: pass run_id, or enter a scope that has one")
        return known

    def _opened(self, run_id: UUID, name: str, metadata: Labels | None, *, is_announced: bool = True) -> OpenPhase:
        if not name:
            raise InvalidArgumentError("a phase needs a name, such as 'context_gathering'")
        if is_announced:
            self._target().emit(PhaseStarted(run_id=run_id, phase=name))
        return OpenPhase(
            run_id=run_id,
            phase=name,
            attempt=self._book.repetitions(run_id, name) + 1,
            started=self._clock.monotonic(),
            metadata=dict(metadata or {}),
        )

    def _finish(self, phase: OpenPhase, *, duration_ms: float | None = None) -> PhaseMetric:
        event = PhaseFinished(
            run_id=phase.run_id,
            phase=phase.phase,
            at_ns=time.time_ns(),
            duration_ms=(self._clock.monotonic() - phase.started) * 1000 if duration_ms is None else duration_ms,
            ok=phase.error_class is None,
            attempt=phase.attempt,
            error_class=phase.error_class,
            metadata=redact(phase.metadata),
        )
        self._emit(event)
        return PhaseMetric(
            id=event.id,
            phase=phase.phase,
            at_ns=event.at_ns,
            duration_ms=event.duration_ms,
            ok=event.ok,
            attempt=event.attempt,
            error_class=event.error_class,
            metadata=event.metadata,
        )

    def _emit(self, event: Event) -> None:
        self._note(event)
        while len(self._own) >= _MAX_OWN:
            self._own.popitem(last=False)
        self._own[event.id] = None
        self._target().emit(event)

    def _note(self, event: Event) -> None:
        self._observed += 1
        self._window.add(event)
        self._book.add(event)

    def _target(self) -> EventSink:
        if self._sink is not None:
            return self._sink
        return getattr(ambient.find(), "sink", None) or _NOWHERE

    def _open_phases(self, run_id: UUID) -> tuple[str, ...]:
        going_on = (*self._tracked.values(), *self._entered.values())
        return tuple(phase.phase for phase in going_on if phase.run_id == run_id)
