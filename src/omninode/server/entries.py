"""What the live stream says about an event: one flat, small JSON object, the same from the bus and from the store."""

from __future__ import annotations

from collections.abc import Mapping
from functools import singledispatch
from typing import Any, Final
from uuid import UUID

from omninode.core.events import (
    AlertChanged,
    BreakerChanged,
    CallFinished,
    ErrorOccurred,
    Event,
    PhaseFinished,
    PhaseStarted,
    RetryScheduled,
    RunFinished,
    RunStarted,
    SourceFinished,
    TaskFinished,
    TaskStarted,
    VoteCast,
)
from omninode.telemetry.redact import redact

__all__ = ["Entry", "entry_of_event", "entry_of_row"]

# Any: JSON scalars; the keys are `key`, `kind`, `at_ms`, `run_id`, `title`, `detail`, `state`, `ms` and numbers of a call.
Entry = dict[str, Any]

_TEXT_LIMIT: Final = 160


def entry_of_event(event: Event) -> Entry | None:
    """The entry for `event`; None for events that are not shown live (measurements, single attempts)."""
    told = _told(event)
    if told is None:
        return None
    key = f"{told['kind']}:{event.run_id}" if isinstance(event, RunStarted | RunFinished) else str(event.id)
    return _entry(key=key, at_ms=event.at_ns // 1_000_000, run_id=event.run_id, **told)


def entry_of_row(row: Mapping[str, Any]) -> Entry:
    """The entry for a row of `server_live.tail`."""
    numbers = {name: row[name] for name in ("tokens", "cost_uusd", "model", "simulated") if row.get(name) is not None}
    return _entry(
        key=row["key"],
        at_ms=int(row["ts"].timestamp() * 1000),
        run_id=row["run_id"],
        kind=row["kind"],
        title=row["title"],
        detail=row["detail"],
        state=row["state"],
        ms=row["ms"],
        **numbers,
    )


def _entry(*, key: str, at_ms: int, run_id: UUID | None, **told: Any) -> Entry:  # Any: see Entry
    for name in ("title", "detail"):
        told[name] = redact(_shortened(told.get(name) or ""))
    return {"key": key, "at_ms": at_ms, "run_id": str(run_id) if run_id else None, **told}


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _TEXT_LIMIT else line[: _TEXT_LIMIT - 1] + "…"


@singledispatch
def _told(event: Event) -> Entry | None:  # noqa: ARG001 - the default of the dispatch
    return None


@_told.register
def _(event: RunStarted) -> Entry:
    return {"kind": "run_started", "title": event.prompt, "state": "running", "simulated": event.is_simulated}


@_told.register
def _(event: RunFinished) -> Entry:
    return {
        "kind": "run_finished",
        "title": event.prompt,
        "detail": event.error or "",
        "state": event.status,
        "ms": round(event.duration_ms),
        "simulated": event.is_simulated,
    }


@_told.register
def _(event: PhaseStarted) -> Entry:
    return {"kind": "phase_started", "title": event.phase or "", "detail": event.label, "state": "running"}


@_told.register
def _(event: PhaseFinished) -> Entry:
    return {
        "kind": "phase",
        "title": event.phase or "",
        "detail": event.error_class or "",
        "state": "ok" if event.ok else "failed",
        "ms": round(event.duration_ms),
    }


@_told.register
def _(event: TaskStarted) -> Entry:
    return {
        "kind": "task_started",
        "title": f"{event.task_id} · {event.agent_id}",
        "detail": event.description,
        "state": "running",
    }


@_told.register
def _(event: TaskFinished) -> Entry:
    return {
        "kind": "task",
        "title": f"{event.task_id} · {event.agent_id}",
        "detail": event.error or event.description,
        "state": event.status,
        "ms": round(event.duration_ms),
    }


@_told.register
def _(event: CallFinished) -> Entry:
    return {
        "kind": "call",
        "title": f"{event.role} → {event.deployment}",
        "detail": "not needed any more" if event.was_stopped else event.error_class or event.degraded or "",
        "state": "ok" if event.ok else "stopped" if event.was_stopped else "failed",
        "ms": round(event.duration_ms),
        "tokens": event.tokens_in + event.tokens_out,
        "cost_uusd": event.cost_uusd,
        "model": event.model,
    }


@_told.register
def _(event: RetryScheduled) -> Entry:
    return {
        "kind": "retry",
        "title": f"{event.call}: attempt {event.attempt} failed",
        "detail": f"{event.error_class}; again in {event.wait_s:.1f} s",
        "state": "warning",
    }


@_told.register
def _(event: BreakerChanged) -> Entry:
    return {
        "kind": "breaker",
        "title": f"{event.breaker}: {event.before} → {event.after}",
        "detail": event.reason,
        "state": {"closed": "ok", "open": "failed"}.get(event.after, "warning"),
    }


@_told.register
def _(event: VoteCast) -> Entry:
    return {
        "kind": "vote",
        "title": f"{event.deployment} votes {event.decision or 'nothing'}",
        "detail": event.error_class or "; ".join(event.deficiencies),
        "state": {"PASS": "ok", "FAIL": "failed"}.get(event.decision or "", "warning"),
        "ms": round(event.duration_ms),
    }


@_told.register
def _(event: SourceFinished) -> Entry:
    return {
        "kind": "source",
        "title": f"{event.source}: {event.items} items",
        "detail": event.error or event.context_type,
        "state": "ok" if event.status == "ok" else "warning",
        "ms": round(event.duration_ms),
    }


@_told.register
def _(event: ErrorOccurred) -> Entry:
    return {"kind": "error", "title": event.error_class, "detail": event.message, "state": "failed"}


@_told.register
def _(event: AlertChanged) -> Entry:
    return {
        "kind": "alert",
        "title": f"{event.alert} {event.state}",
        "detail": event.message,
        "state": "ok" if event.state == "resolved" else "failed",
    }
