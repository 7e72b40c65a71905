"""A run as spans on one time axis: phases, the sources and tasks inside them, and the calls inside those.

Rows hold the end of a thing and how long it took; a span holds where it began, in milliseconds after the run did.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

__all__ = ["STOPPED", "Span", "build", "critical_path"]

# How a call ends whose answer was no longer needed.
STOPPED = "CancelledError"

Row = Mapping[str, Any]  # Any: see node.Row


@dataclass(slots=True, kw_only=True)
class Span:
    """One bar. `depth` is how far it is indented, `is_critical` whether the run would end sooner without it."""

    id: str
    parent: str | None
    kind: str
    name: str
    start_ms: float
    duration_ms: float
    state: str
    detail: str = ""
    wait_ms: float = 0.0
    attempts: int = 1
    tokens: int = 0
    cost_uusd: int | None = None
    depth: int = 0
    is_critical: bool = False

    @property
    def end_ms(self) -> float:
        """Where it ends."""
        return self.start_ms + self.duration_ms


# Any: the answer as JSON.
def build(
    run: Row, *, metrics: Sequence[Row], tasks: Sequence[Row], calls: Sequence[Row], votes: Sequence[Row]
) -> dict[str, Any]:
    """Spans in drawing order with the run's length, and how much the fan-out of tasks saved."""
    begin: datetime = run["started_at"]
    phases = [_phase(row, begin) for row in metrics if row["metric"] == "phase_duration_ms"]
    sources = [_source(row, begin, phases) for row in metrics if row["metric"] == "source_duration_ms"]
    works = [_task(row, begin, phases) for row in tasks]
    decided = {row["deployment"]: row["decision"] for row in votes}
    inside = {row["task_id"]: str(row["id"]) for row in tasks}
    requests = [_call(row, begin, phases, inside) for row in calls]
    for span, row in zip(requests, calls, strict=True):
        if row["role"] == "voter" and decided.get(row["deployment"]):
            span.detail += f", votes {decided[row['deployment']]}"
    spans = [*phases, *sources, *works, *requests]
    length = max([run["duration_ms"] or 0, *(span.end_ms for span in spans)], default=0)
    for span in critical_path(spans, length):
        span.is_critical = True
    return {
        "length_ms": length,
        "spans": [asdict(span) for span in _ordered(spans)],
        "speed_up": _speed_up(works),
    }


def critical_path(spans: Iterable[Span], length: float) -> list[Span]:
    """The spans the run's length is made of: from the end backwards, whichever child ended last."""
    children: dict[str | None, list[Span]] = {}
    for span in spans:
        # Nobody waited for what was stopped; its end is somebody else's.
        if span.state != "stopped":
            children.setdefault(span.parent, []).append(span)
    found: list[Span] = []
    todo: list[tuple[str | None, float]] = [(None, length + 1)]
    while todo:
        parent, cursor = todo.pop()
        # Rows are rounded to whole milliseconds, so an end may lie one past the next beginning.
        for span in sorted(children.get(parent, []), key=lambda child: -child.end_ms):
            if span.end_ms <= cursor + 1 and span.duration_ms > 0:
                found.append(span)
                todo.append((span.id, span.end_ms))
                cursor = span.start_ms
    return found


def _ordered(spans: Sequence[Span]) -> list[Span]:
    children: dict[str | None, list[Span]] = {}
    for span in spans:
        children.setdefault(span.parent, []).append(span)
    for siblings in children.values():
        siblings.sort(key=lambda span: (span.start_ms, span.name))
    ordered: list[Span] = []
    stack = [(span, 0) for span in reversed(children.get(None, []))]
    while stack:
        span, span.depth = stack.pop()
        ordered.append(span)
        stack.extend((child, span.depth + 1) for child in reversed(children.get(span.id, [])))
    return ordered


def _speed_up(works: Sequence[Span]) -> dict[str, float] | None:
    ran = [span for span in works if span.duration_ms > 0]
    if not ran:
        return None
    total = sum(span.duration_ms for span in ran)
    wall = max(span.end_ms for span in ran) - min(span.start_ms for span in ran)
    longest = max(span.duration_ms for span in ran)
    return {"factor": total / max(wall, 1.0), "ideal": total / longest, "serial_ms": total, "wall_ms": wall}


def _start(row: Row, begin: datetime, duration_ms: float) -> float:
    return max(0.0, float((row["ts"] - begin).total_seconds() * 1000 - duration_ms))


def _phase(row: Row, begin: datetime) -> Span:
    attempt = int(row["labels"].get("attempt", 1))
    return Span(
        id=str(row["id"]),
        parent=None,
        kind="phase",
        name=row["phase"] or "phase",
        start_ms=_start(row, begin, row["value"]),
        duration_ms=row["value"],
        state="ok" if row["ok"] else "failed",
        attempts=attempt,
        detail=f"attempt {attempt}" if attempt > 1 else "",
    )


def _source(row: Row, begin: datetime, phases: Sequence[Span]) -> Span:
    labels, start = row["labels"], _start(row, begin, row["value"])
    status = str(labels.get("status", "ok" if row["ok"] else "failed"))
    return Span(
        id=str(row["id"]),
        parent=_phase_at(phases, row["phase"] or "context_gathering", start),
        kind="source",
        name=str(labels.get("source", "source")),
        start_ms=start,
        duration_ms=row["value"],
        state="ok" if status == "ok" else "warning" if status in {"late", "skipped", "open"} else "failed",
        detail=f"{status}, {labels.get('items', 0)} items",
    )


def _task(row: Row, begin: datetime, phases: Sequence[Span]) -> Span:
    start = _start(row, begin, row["duration_ms"])
    return Span(
        id=str(row["id"]),
        parent=_phase_at(phases, "parallel_execution", start),
        kind="task",
        name=f"{row['task_id']} · {row['agent_id']}",
        start_ms=start,
        duration_ms=row["duration_ms"],
        wait_ms=row["wait_ms"],
        state=row["status"],
        detail=row["error"] or row["description"],
    )


def _call(row: Row, begin: datetime, phases: Sequence[Span], inside: Mapping[str, str]) -> Span:
    start = _start(row, begin, row["duration_ms"])
    notes = [row["model"], f"{row['attempts']} attempts" if row["attempts"] > 1 else "", row["degraded"] or ""]
    notes.append("cache" if row["cache"] in {"hit", "shared"} else "")
    notes.append("not needed any more" if row["error_class"] == STOPPED else row["error_class"] or "")
    return Span(
        id=str(row["id"]),
        parent=inside.get(row["task_id"] or "") or _phase_at(phases, row["phase"], start),
        kind="vote" if row["role"] == "voter" else "call",
        name=f"{row['role']} → {row['deployment']}",
        start_ms=start,
        duration_ms=row["duration_ms"],
        state=_call_state(row),
        detail=", ".join(note for note in notes if note),
        attempts=row["attempts"],
        tokens=row["tokens_in"] + row["tokens_out"],
        cost_uusd=row["cost_uusd"],
    )


def _call_state(row: Row) -> str:
    if row["ok"]:
        return "warning" if row["degraded"] else "ok"
    return "stopped" if row["error_class"] == STOPPED else "failed"


def _phase_at(phases: Sequence[Span], name: str | None, start_ms: float) -> str | None:
    """The repetition of the phase that was going on; phases are repeated after a vote for RETRY."""
    candidates = [span for span in phases if span.name == name]
    begun = [span for span in candidates if span.start_ms <= start_ms + 2]
    chosen = max(begun or candidates, key=lambda span: span.start_ms, default=None)
    return chosen.id if chosen else None
