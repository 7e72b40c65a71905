"""The list of runs, and one run with its timeline."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import orjson

from omninode.server.pages.question import NotFoundError, Panel, Question
from omninode.server.timeline import STOPPED, build

__all__ = ["load", "load_one", "load_timeline"]

STATUSES: Final = ("running", "done", "failed_tasks", "refused", "rejected", "failed", "cancelled", "lost")
_PAGE: Final = 50
_BEGINNING: Final = (datetime(9999, 1, 1, tzinfo=UTC), UUID(int=(1 << 128) - 1))
_TASKS_SHOWN: Final = 200
_SPANS_SHOWN: Final = 400


async def load(question: Question) -> Panel:
    """A page of runs, how many there are, and the cursor of the next page."""
    status = question.query.get("status")
    status = status if status in STATUSES else None
    started_at, run_id = _parse_cursor(question.query.get("after"))
    rows = await question.rows("server_runs.page", started_at, run_id, status, _PAGE + 1)
    shown = [dict(row) for row in rows[:_PAGE]]
    total = (await question.rows("server_runs.count", status))[0]["n"]
    statuses = await question.rows("server_runs.statuses")
    return {
        "items": shown,
        "status": status,
        "statuses": {row["status"]: row["n"] for row in statuses},
        "total": total,
        "total_is_floor": total >= 10_000,
        "is_first": "after" not in question.query,
        "next": _cursor(shown[-1]) if len(rows) > _PAGE else None,
    }


async def load_one(question: Question) -> Panel:
    """All that is known of one run; raises NotFoundError."""
    run = await _run(question)
    tasks = await question.rows("server_runs.tasks", run["id"])
    calls = await question.rows("server_runs.calls", run["id"])
    votes = await question.rows("server_runs.votes", run["id"])
    errors = await question.rows("server_runs.errors", run["id"])
    metrics = [_with_labels(row) for row in await question.rows("server_runs.metrics", run["id"])]
    timeline = build(run, metrics=metrics, tasks=tasks, calls=calls, votes=votes)
    return {
        "run": run,
        "totals": _totals(calls),
        "timeline": {**timeline, "spans": timeline["spans"][:_SPANS_SHOWN], "total": len(timeline["spans"])},
        "tasks": [dict(row) for row in tasks[:_TASKS_SHOWN]],
        "tasks_total": len(tasks),
        "tasks_ok": sum(row["status"] == "ok" for row in tasks),
        "votes": [dict(row) for row in votes],
        "errors": [dict(row) for row in errors],
    }


async def load_timeline(question: Question) -> Panel:
    """Every span of one run, for the waterfall."""
    run = await _run(question)
    return build(
        run,
        metrics=[_with_labels(row) for row in await question.rows("server_runs.metrics", run["id"])],
        tasks=await question.rows("server_runs.tasks", run["id"]),
        calls=await question.rows("server_runs.calls", run["id"]),
        votes=await question.rows("server_runs.votes", run["id"]),
    )


async def _run(question: Question) -> Panel:
    try:
        run_id = UUID(question.path["run_id"])
    except ValueError:
        raise NotFoundError(f"{question.path['run_id']!r} is not the id of a run") from None
    rows = await question.rows("server_runs.one", run_id)
    if not rows:
        raise NotFoundError(f"there is no run {run_id}; it may not have been written yet")
    return {**rows[0], "report": parsed(rows[0]["report"])}


def _totals(calls: Any) -> Panel:  # Any: a sequence of rows
    return {
        "calls": len(calls),
        "failed": sum(not row["ok"] and row["error_class"] != STOPPED for row in calls),
        "stopped": sum(row["error_class"] == STOPPED for row in calls),
        "attempts": sum(row["attempts"] for row in calls),
        "cached": sum(row["cache"] in {"hit", "shared"} for row in calls),
        "degraded": sum(row["degraded"] is not None for row in calls),
        "tokens_in": sum(row["tokens_in"] for row in calls),
        "tokens_out": sum(row["tokens_out"] for row in calls),
        "cost_uusd": sum(row["cost_uusd"] or 0 for row in calls),
        "unpriced": sum(row["ok"] and row["cost_uusd"] is None for row in calls),
    }


def parsed(value: Any) -> Any:  # Any: a jsonb value, as text or as what it holds
    """The value of a jsonb column, whichever way the driver hands it over."""
    return orjson.loads(value) if isinstance(value, str | bytes) else value


def _with_labels(row: Mapping[str, Any]) -> Panel:  # Any: see node.Row
    return {**row, "labels": parsed(row["labels"]) or {}}


def _cursor(row: Panel) -> str:
    text = f"{row['started_at'].isoformat()}|{row['id']}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _parse_cursor(text: str | None) -> tuple[datetime, UUID]:
    if not text:
        return _BEGINNING
    try:
        moment, _, run_id = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode().partition("|")
        return datetime.fromisoformat(moment), UUID(run_id)
    except (ValueError, binascii.Error):
        return _BEGINNING
