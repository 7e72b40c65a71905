"""Which event is kept in which table, and as what row.

A row's primary key is its event's id, so an event that is written twice is one row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from omninode.core.errors import InvalidArgumentError
from omninode.core.events import (
    AgentOutcome,
    AlertChanged,
    AttemptFinished,
    BreakerChanged,
    CallFinished,
    ErrorOccurred,
    Event,
    MetricRecorded,
    PayloadRecorded,
    PhaseFinished,
    RetryScheduled,
    RunFinished,
    RunStarted,
    SourceFinished,
    TaskFinished,
    VoteCast,
)
from omninode.telemetry.redact import redact, redact_text

__all__ = ["Row", "row_of"]

Row = dict[str, Any]  # Any: JSON values, as the spool takes them

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BREAKER_LEVEL = {"closed": 0.0, "half_open": 0.5, "open": 1.0}
# Prompts and outputs are the user's; they are kept whole up to here, then cut with a note.
_MAX_TEXT = 200_000
# Columns we make ourselves, which hold no text of others.
_OURS = frozenset({"id", "ts", "run_id", "started_at", "finished_at", "status", "duration_ms"})


def row_of(event: Event) -> tuple[str, Row] | None:
    """The table and the row that keep `event`; None for a class that others keep (audited acts) or nobody
    does (starts of phases, tasks).

    Text and labels are redacted.
    """
    mapping = _ROWS.get(type(event))
    if mapping is None:
        return None
    table, row = mapping(event)
    return table, {column: value if column in _OURS else redact(value, text=_text) for column, value in row.items()}


def _stamp(at_ns: int) -> str:
    return (_EPOCH + timedelta(microseconds=at_ns // 1000)).isoformat(timespec="microseconds")


def _text(value: str) -> str:
    # Postgres text and jsonb cannot hold NUL, nor UTF-8 lone surrogates.
    clean = redact_text(value).replace("\x00", "").encode("utf-8", "replace").decode("utf-8")
    return clean if len(clean) <= _MAX_TEXT else f"{clean[:_MAX_TEXT]}… [{len(clean) - _MAX_TEXT} more characters]"


def _fact(event: Event) -> Row:
    return {"id": str(event.id), "ts": _stamp(event.at_ns), "run_id": str(event.run_id) if event.run_id else None}


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def _run_started(event: RunStarted) -> tuple[str, Row]:
    return "runs", {
        "id": str(event.run_id or event.id),
        "started_at": _stamp(event.at_ns),
        "finished_at": None,
        "status": "running",
        "prompt": event.prompt,
        "workspace": event.workspace,
        "is_simulated": event.is_simulated,
        "duration_ms": None,
        "error": None,
        "report": None,
    }


def _run_finished(event: RunFinished) -> tuple[str, Row]:
    return "runs", {
        "id": str(event.run_id or event.id),
        "started_at": _stamp(event.started_ns),
        "finished_at": _stamp(event.at_ns),
        "status": event.status,
        "prompt": event.prompt,
        "workspace": event.workspace,
        "is_simulated": event.is_simulated,
        "duration_ms": _whole(event.duration_ms),
        "error": event.error,
        "report": event.report,
    }


def _task(event: TaskFinished) -> tuple[str, Row]:
    return "tasks", _fact(event) | {
        "run_id": str(event.run_id or event.id),
        "task_id": event.task_id,
        "agent_id": event.agent_id,
        "task_type": event.task_type,
        "description": event.description,
        "depends_on": list(event.depends_on),
        "status": event.status,
        "duration_ms": _whole(event.duration_ms),
        "wait_ms": _whole(event.wait_ms),
        "output": event.output,
        "error": event.error,
    }


def _call(event: CallFinished) -> tuple[str, Row]:
    return "llm_calls", _fact(event) | {
        "phase": event.phase,
        "task_id": event.task_id,
        "agent_id": event.agent_id,
        "role": event.role,
        "provider": event.provider,
        "deployment": event.deployment,
        "model": event.model,
        "ok": event.ok,
        "status": event.status,
        "attempts": event.attempts,
        "duration_ms": _whole(event.duration_ms),
        "ttft_ms": _whole(event.ttft_ms),
        "tokens_in": event.tokens_in,
        "tokens_out": event.tokens_out,
        "cost_uusd": event.cost_uusd,
        "cache": event.cache,
        "degraded": event.degraded,
        "error_class": event.error_class,
        "is_simulated": event.is_simulated,
    }


def _payload(event: PayloadRecorded) -> tuple[str, Row]:
    return "llm_payloads", _fact(event) | {"request": event.request, "response": event.response}


def _vote(event: VoteCast) -> tuple[str, Row]:
    return "votes", _fact(event) | {
        "round": event.round,
        "deployment": event.deployment,
        "model": event.model,
        "decision": event.decision,
        "score": event.score,
        "confidence": event.confidence,
        "weight": event.weight,
        "deficiencies": list(event.deficiencies),
        "counted": event.counted,
        "duration_ms": _whole(event.duration_ms),
        "error_class": event.error_class,
    }


def _error(event: ErrorOccurred) -> tuple[str, Row]:
    return "error_events", _fact(event) | {
        "phase": event.phase,
        "fingerprint": event.fingerprint or event.error_class,
        "error_class": event.error_class,
        "message": event.message,
        "retryable": event.retryable,
        "attempt": event.attempt,
        "place": event.where,
        "context": event.context,
    }


def _outcome(event: AgentOutcome) -> tuple[str, Row]:
    return "agent_performance", _fact(event) | {
        "agent_id": event.agent_id,
        "task_type": event.task_type,
        "success": event.success,
        "duration_ms": _whole(event.duration_ms),
        "tokens_in": event.tokens_in,
        "tokens_out": event.tokens_out,
        "cost_uusd": event.cost_uusd,
        "error_class": event.error_class,
        "metadata": event.metadata,
    }


def _alert(event: AlertChanged) -> tuple[str, Row]:
    return "alerts", _fact(event) | {
        "alert": event.alert,
        "state": event.state,
        "severity": event.severity,
        "metric": event.metric,
        "value": event.value,
        "threshold": event.threshold,
        "message": event.message,
    }


def _metric(
    event: Event,
    metric: str,
    value: float,
    *,
    ok: bool = True,
    labels: Mapping[str, Any],  # Any: as JSON can hold them
) -> tuple[str, Row]:
    if not math.isfinite(value):
        raise InvalidArgumentError(f"metric {metric!r} measured {value}; only finite numbers are kept")
    return "performance_metrics", _fact(event) | {
        "phase": event.phase,
        "metric": metric,
        "value": float(value),
        "ok": ok,
        "labels": {name: label for name, label in labels.items() if label is not None},
    }


def _phase(event: PhaseFinished) -> tuple[str, Row]:
    labels = dict(event.metadata) | {"attempt": event.attempt, "error_class": event.error_class}
    return _metric(event, "phase_duration_ms", event.duration_ms, ok=event.ok, labels=labels)


def _source(event: SourceFinished) -> tuple[str, Row]:
    labels = {
        "source": event.source,
        "context_type": event.context_type,
        "status": event.status,
        "items": event.items,
        "error": event.error,
    }
    return _metric(event, "source_duration_ms", event.duration_ms, ok=event.status == "ok", labels=labels)


def _attempt(event: AttemptFinished) -> tuple[str, Row]:
    labels = {
        "call": event.call,
        "deployment": event.deployment,
        "attempt": event.attempt,
        "outcome": event.outcome,
        "error_class": event.error_class,
        "error": event.error,
    }
    return _metric(
        event, "attempt_duration_ms", event.duration_ms, ok=event.outcome.lower() == "success", labels=labels
    )


def _retry(event: RetryScheduled) -> tuple[str, Row]:
    labels = {
        "call": event.call,
        "attempt": event.attempt,
        "error_class": event.error_class,
        "error": event.error,
    }
    return _metric(event, "retry_wait_ms", event.wait_s * 1000, ok=False, labels=labels)


def _breaker(event: BreakerChanged) -> tuple[str, Row]:
    labels = {
        "breaker": event.breaker,
        "before": event.before,
        "after": event.after,
        "reason": event.reason,
        "generation": event.generation,
        "refused": event.refused,
        "retry_after_s": event.retry_after_s,
    }
    return _metric(
        event, "breaker_state", _BREAKER_LEVEL.get(event.after, 1.0), ok=event.after != "open", labels=labels
    )


def _measured(event: MetricRecorded) -> tuple[str, Row]:
    return _metric(event, event.metric, event.value, ok=event.ok, labels=event.labels)


# Any: each function takes the event class it stands beside.
_ROWS: dict[type[Event], Callable[[Any], tuple[str, Row]]] = {
    RunStarted: _run_started,
    RunFinished: _run_finished,
    TaskFinished: _task,
    CallFinished: _call,
    PayloadRecorded: _payload,
    VoteCast: _vote,
    ErrorOccurred: _error,
    AgentOutcome: _outcome,
    AlertChanged: _alert,
    PhaseFinished: _phase,
    SourceFinished: _source,
    AttemptFinished: _attempt,
    RetryScheduled: _retry,
    BreakerChanged: _breaker,
    MetricRecorded: _measured,
}
