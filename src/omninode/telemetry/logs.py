"""From the bus to the log streams: which event is written where, and the flight recorder of the debug stream."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from omninode.core.events import (
    AgentOutcome,
    AlertChanged,
    AttemptFinished,
    Audited,
    BreakerChanged,
    CallFinished,
    ErrorOccurred,
    Event,
    MetricRecorded,
    PayloadRecorded,
    PhaseFinished,
    RunFinished,
    RunStarted,
    SourceFinished,
    TaskFinished,
    VoteCast,
)
from omninode.telemetry.bus import EventBus, Subscription
from omninode.telemetry.streams import LEVELS, Logs, Stream, configure_logs

__all__ = ["LogWriter", "LogWriterStatistics", "Logs", "configure_logs", "stream_of"]

_PERFORMANCE = (PhaseFinished, CallFinished, TaskFinished, SourceFinished, AgentOutcome, VoteCast)
_AUDIT = (RunStarted, RunFinished, BreakerChanged, AlertChanged, Audited)
_FAILED = frozenset({"failed", "failed_tasks", "rejected"})
# Bodies belong into the database, where they can be looked up; a log line names what happened.
_LEFT_OUT = frozenset({"prompt", "output", "report", "description"})
_MAX_RUNS = 64
_PER_RUN = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class LogWriterStatistics:
    """Events written to a stream, events held back in the flight recorder now, and those it let go."""

    written: int
    held: int
    let_go: int


class LogWriter:
    """Writes what the bus carries into the log streams; also an `EventSink`.

    Debug records of a run are held in memory (a flight recorder: the last 500 of each of the last 64 runs) and
    written only when the run failed; with the level "debug" they are written at once.
    """

    def __init__(self, bus: EventBus | None, logs: Logs) -> None:
        self._logs = logs
        self._recorder: OrderedDict[UUID, deque[Event]] = OrderedDict()
        self._written = 0
        self._let_go = 0
        self._subscription: Subscription | None = None if bus is None else bus.subscribe(self.write, name="logs")

    def emit(self, event: Event) -> None:
        """Take the event as a sink; the same as `write`."""
        self.write(event)

    def write(self, event: Event) -> None:
        """Write `event` to its stream, or hold it back. Blocks for the length of one write to a file."""
        if isinstance(event, PayloadRecorded):
            return  # too large to hold, and the one thing that a log must not tell
        stream, level = stream_of(event)
        if stream == "debug" and self._logs.level > LEVELS["debug"]:
            self._hold(event)
        else:
            self._put(stream, level, event)
        if isinstance(event, RunFinished) and event.run_id is not None:
            self._release(event.run_id, is_failed=event.status in _FAILED)

    def close(self) -> None:
        """Take no more events; the streams stay open. Doing it twice is harmless."""
        if self._subscription is not None:
            self._subscription.cancel()

    def statistics(self) -> LogWriterStatistics:
        """Counts since the writer was made."""
        return LogWriterStatistics(
            written=self._written, held=sum(map(len, self._recorder.values())), let_go=self._let_go
        )

    def _put(self, stream: Stream, level: str, event: Event) -> None:
        self._written += 1
        if stream == "debug":
            level = "info" if self._logs.level > LEVELS["debug"] else "debug"
        self._logs.write(stream, {**_fields(event), "level": level})

    def _hold(self, event: Event) -> None:
        if event.run_id is None:
            self._let_go += 1
            return
        held = self._recorder.get(event.run_id)
        if held is None:
            while len(self._recorder) >= _MAX_RUNS:
                self._let_go += len(self._recorder.popitem(last=False)[1])
            held = self._recorder[event.run_id] = deque(maxlen=_PER_RUN)
        self._let_go += len(held) == _PER_RUN
        held.append(event)

    def _release(self, run_id: UUID, *, is_failed: bool) -> None:
        held = self._recorder.pop(run_id, deque())
        if not is_failed:
            self._let_go += len(held)
            return
        for event in held:
            self._put("debug", "debug", event)


def stream_of(event: Event) -> tuple[Stream, str]:
    """The stream and the level of `event`."""
    if isinstance(event, ErrorOccurred):
        return "error", "error"
    if isinstance(event, _AUDIT):
        is_bad = isinstance(event, AlertChanged) and event.state == "firing"
        return "audit", "warning" if is_bad else "info"
    if isinstance(event, _PERFORMANCE):
        return "performance", "info" if _is_fine(event) else "warning"
    if isinstance(event, MetricRecorded) and not event.labels.get("gauge"):
        return "performance", "info"
    if isinstance(event, AttemptFinished) and event.error_class is not None:
        return "debug", "warning"
    return "debug", "debug"


def _is_fine(event: Event) -> bool:
    match event:
        case PhaseFinished(ok=ok) | CallFinished(ok=ok) | AgentOutcome(success=ok):
            return ok
        case TaskFinished(status=status) | SourceFinished(status=status):
            return status == "ok"
        case _:
            return True


def _fields(event: Event) -> dict[str, Any]:  # Any: redacted by the streams
    told: dict[str, Any] = {"event": type(event).__name__}
    for field in fields(event):
        value = getattr(event, field.name)
        if value is None or field.name in _LEFT_OUT:
            continue
        match field.name:
            case "at_ns":
                told["at"] = datetime.fromtimestamp(value / 1e9, tz=UTC).isoformat(timespec="microseconds")
            case "agent_id":
                told["agent"] = value
            case "id":
                told["event_id"] = str(value)
            case _:
                told[field.name] = str(value) if isinstance(value, UUID) else value
    return told
