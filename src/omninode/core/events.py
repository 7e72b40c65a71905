"""What happens, as values: one frozen class per kind of happening.

A room that has something to tell creates an event and hands it to its `EventSink`. Emitting never waits, never does
I/O and never raises, so it is allowed anywhere. Who listens is not the emitter's business: `telemetry.bus` carries
events on, `monitoring.writer` turns them into rows, the command line draws progress from them.

`at_ns` is wall-clock nanoseconds since 1970 at the END of what the event tells; with `duration_ms` that gives both
ends. All `duration_ms` are floats here and become integers in columns.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol
from uuid import UUID

from omninode.core.ids import uuid7

__all__ = [
    "AgentOutcome",
    "AlertChanged",
    "AttemptFinished",
    "Audited",
    "BreakerChanged",
    "CallFinished",
    "ErrorOccurred",
    "Event",
    "EventSink",
    "MetricRecorded",
    "NullSink",
    "PayloadRecorded",
    "PhaseFinished",
    "PhaseStarted",
    "RetryScheduled",
    "RunFinished",
    "RunStarted",
    "SourceFinished",
    "Shielded",
    "TaskFinished",
    "TaskStarted",
    "Tee",
    "VoteCast",
    "shielded",
]

_log = logging.getLogger(__name__)

Labels = Mapping[str, Any]


def _nothing() -> Labels:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened; the fields every event has."""

    id: UUID = field(default_factory=uuid7)
    at_ns: int = field(default_factory=time.time_ns)
    run_id: UUID | None = None
    phase: str | None = None


class EventSink(Protocol):
    """Takes events. Emitting returns at once and never raises."""

    def emit(self, event: Event) -> None:
        """Take `event`; a sink that is full counts what it drops."""
        ...


class NullSink:
    """Takes events and forgets them."""

    __slots__ = ()

    def emit(self, event: Event) -> None:
        """Do nothing."""


class Shielded:
    """Hands every event to a sink that may break its promise: what it raises is counted, and logged the first time."""

    __slots__ = ("_sink", "failures")

    def __init__(self, sink: EventSink) -> None:
        self._sink = sink
        self.failures = 0

    def emit(self, event: Event) -> None:
        """Emit to the sink."""
        try:
            self._sink.emit(event)
        except Exception:  # noqa: BLE001 - border: user-supplied callback
            self.failures += 1
            if self.failures == 1:
                _log.exception("an event sink failed; its failures are not told again")


def shielded(sink: EventSink | None) -> EventSink | None:
    """A sink that cannot raise, for `sink`; None for none and for one that forgets, so that events are not even made."""
    if sink is None or isinstance(sink, NullSink):
        return None
    return sink if isinstance(sink, Shielded) else Shielded(sink)


class Tee:
    """Hands every event to each of several sinks, in their order; sinks can be attached for a while."""

    __slots__ = ("_sinks",)

    def __init__(self, *sinks: EventSink) -> None:
        self._sinks = sinks

    def emit(self, event: Event) -> None:
        """Emit to each sink."""
        for sink in self._sinks:
            sink.emit(event)

    @contextmanager
    def attached(self, sink: EventSink) -> Iterator[None]:
        """Hand events to `sink` too while the body runs."""
        # A new tuple each time: an `emit` that is under way keeps the one it began with.
        self._sinks = (*self._sinks, sink)
        try:
            yield
        finally:
            self._sinks = tuple(other for other in self._sinks if other is not sink)


RunStatus = Literal["running", "done", "failed_tasks", "refused", "rejected", "failed", "cancelled"]
TaskStatus = Literal["ok", "failed", "skipped", "cancelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """A run began; `run_id` is set."""

    prompt: str
    workspace: str | None = None
    is_simulated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished(Event):
    """A run ended, however it ended; `report` is its JSON report without the outputs of its tasks, None
    when there is none.
    """

    prompt: str
    started_ns: int
    status: RunStatus
    duration_ms: float
    workspace: str | None = None
    is_simulated: bool = False
    report: Labels | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseStarted(Event):
    """A phase of a run began."""

    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseFinished(Event):
    """A phase of a run ended; `attempt` counts repetitions of the same phase from 1."""

    duration_ms: float
    ok: bool = True
    attempt: int = 1
    error_class: str | None = None
    metadata: Labels = field(default_factory=_nothing)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStarted(Event):
    """An agent took up a task."""

    task_id: str
    agent_id: str
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFinished(Event):
    """A task ended; a skipped one was never started, because something it depends on failed."""

    task_id: str
    agent_id: str
    task_type: str
    description: str
    depends_on: tuple[str, ...] = ()
    status: TaskStatus
    duration_ms: float
    wait_ms: float = 0.0
    output: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOutcome(Event):
    """How an agent did on a task, for analytics."""

    agent_id: str
    task_type: str
    success: bool
    duration_ms: float
    tokens_in: int = 0
    tokens_out: int = 0
    cost_uusd: int | None = None
    error_class: str | None = None
    metadata: Labels = field(default_factory=_nothing)


CacheUse = Literal["off", "miss", "hit", "shared"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFinished(Event):
    """A logical request to a model ended; `id` is the call's id.

    `cost_uusd` is None where the price is unknown, `cache_key` where the answer is not kept for the next caller.
    """

    role: str
    model: str
    provider: str
    deployment: str
    ok: bool
    duration_ms: float
    ttft_ms: float | None = None
    attempts: int = 1
    tokens_in: int = 0
    tokens_out: int = 0
    cost_uusd: int | None = None
    cache: CacheUse = "off"
    cache_key: str | None = None
    task_id: str | None = None
    agent_id: str | None = None
    degraded: str | None = None
    status: int | None = None
    error_class: str | None = None
    is_simulated: bool = False

    @property
    def was_stopped(self) -> bool:
        """Whether the caller no longer needed the answer, which says nothing against the model."""
        return self.error_class == "CancelledError"


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadRecorded(Event):
    """What a call sent and got, told only where the settings ask for it; `id` is the call's id.

    `request` holds the messages and what else was asked; `response` is None when there was no answer.
    """

    request: Labels
    response: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFinished(Event):
    """One physical try ended; `outcome` is a name of `resilience.classify.Outcome`."""

    call: str
    deployment: str
    attempt: int
    outcome: str
    duration_ms: float
    error_class: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryScheduled(Event):
    """A failed attempt will be repeated after `wait_s`."""

    call: str
    attempt: int
    wait_s: float
    error_class: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerChanged(Event):
    """A breaker moved from one state to another (names of `CircuitState`, in lower case).

    `refused` is how many calls it refused since its last such event; none of them has an event of its own.
    """

    breaker: str
    before: str
    after: str
    reason: str
    generation: int
    refused: int = 0
    retry_after_s: float | None = None
    is_by_hand: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited(Event):
    """Something was done, or refused, that is to be provable later: `action` (`room.verb`) on the named `target`.

    `actor` is who did it; empty: the user the process runs as. `detail` holds no text of a prompt.
    """

    action: str
    target: str
    actor: str = ""
    detail: Labels = field(default_factory=_nothing)


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteCast(Event):
    """A voter answered, or did not (`counted` False, `error_class` says why)."""

    round: int
    deployment: str
    model: str
    decision: str | None
    score: float | None
    confidence: float | None
    weight: float = 1.0
    deficiencies: tuple[str, ...] = ()
    counted: bool = True
    duration_ms: float = 0.0
    error_class: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFinished(Event):
    """A context source ended with `status` ok, late, failed, open or skipped."""

    source: str
    context_type: str
    status: str
    items: int
    duration_ms: float
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricRecorded(Event):
    """A measured value; the unit ends the metric's name (`queue_wait_ms`, `rss_bytes`)."""

    metric: str
    value: float
    ok: bool = True
    labels: Labels = field(default_factory=_nothing)


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorOccurred(Event):
    """Something failed; `fingerprint` groups failures of one cause. The message is redacted before it is stored."""

    error_class: str
    message: str
    fingerprint: str = ""
    retryable: bool = False
    attempt: int = 1
    where: str = ""
    context: Labels = field(default_factory=_nothing)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertChanged(Event):
    """An alert began to fire or was resolved."""

    alert: str
    state: Literal["firing", "resolved"]
    severity: Literal["info", "warning", "critical"]
    metric: str
    value: float
    threshold: float
    message: str
