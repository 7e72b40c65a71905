"""Which rollups there are: what rows each counts, by what, and which figures it keeps of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["ROLLUPS", "SOURCES", "Rollup", "Source", "rollup_names"]

# Any: a row as the spool holds it, JSON values by column.
Row = Mapping[str, Any]

_STOPPED = "CancelledError"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A table whose rows are counted: the column of their time, the counts of one row, and its measured value.

    `value` gives None for a row whose value is no response time; `is_counted` False for a row that is not counted yet.
    """

    table: str
    columns: tuple[str, ...]
    counts: Callable[[Row], tuple[int | float, ...]]
    value: Callable[[Row], float | None] | None = None
    moment: str = "ts"
    is_counted: Callable[[Row], bool] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollup:
    """A table `name` that sums `sums` (columns of the source) by `keys`.

    `histogram` is the distribution of the source's values; `first_at` and `last_at` the times of the first and the
    last row; `gauge` the lowest, the highest and the last value. Rows without the column `needs` are left out.
    """

    name: str
    keys: tuple[str, ...]
    sums: tuple[str, ...]
    histogram: bool = False
    first_at: bool = False
    last_at: bool = False
    gauge: bool = False
    needs: str | None = None


def _call(row: Row) -> tuple[int | float, ...]:
    ok, cost, attempts, degraded = row["ok"], row.get("cost_uusd"), row.get("attempts", 1), row.get("degraded")
    hit = row.get("cache") in {"hit", "shared"}
    stopped = not ok and row.get("error_class") == _STOPPED
    sent, received = row.get("tokens_in", 0), row.get("tokens_out", 0)
    unpriced = cost is None and not hit and not stopped
    paid = cost is not None and ok and not hit
    return (
        1,
        ok,
        stopped,
        hit,
        degraded is not None,
        attempts > 1,
        attempts > 1 and ok,
        row.get("is_simulated", False),
        attempts,
        sent,
        received,
        0 if hit or cost is None else cost,
        unpriced,
        ok and cost is None,
        sent + received if unpriced else 0,
        paid,
        (cost or 0) if paid else 0,
    )


def _call_time(row: Row) -> float | None:
    if row.get("cache") in {"hit", "shared"} or (not row["ok"] and row.get("error_class") == _STOPPED):
        return None
    duration: float = row["duration_ms"]
    return duration


def _measurement(row: Row) -> tuple[int | float, ...]:
    return (1, not row.get("ok", True), row["value"])


def _outcome(row: Row) -> tuple[int | float, ...]:
    cost, success = row.get("cost_uusd"), row["success"]
    return (
        1,
        success,
        row["duration_ms"],
        row.get("tokens_in", 0),
        row.get("tokens_out", 0),
        0 if cost is None else cost,
        cost is None,
    )


def _error(row: Row) -> tuple[int | float, ...]:
    return (1, row["retryable"])


def _run(row: Row) -> tuple[int | float, ...]:
    return (1, row.get("is_simulated", False))


SOURCES: Mapping[str, Source] = {
    source.table: source
    for source in (
        Source(
            table="llm_calls",
            columns=(
                "n", "ok", "stopped", "cached", "degraded", "retried", "recovered", "simulated", "attempts", "tokens_in",
                "tokens_out", "cost_uusd", "unpriced", "unpriced_ok", "unpriced_tokens", "paid", "paid_uusd",
            ),
            counts=_call,
            value=_call_time,
        ),
        Source(
            table="performance_metrics",
            columns=("n", "failed", "total"),
            counts=_measurement,
            value=lambda row: row["value"],
        ),
        Source(
            table="agent_performance",
            columns=("n", "successes", "duration_ms", "tokens_in", "tokens_out", "cost_uusd", "unpriced"),
            counts=_outcome,
            value=lambda row: row["duration_ms"],
        ),
        Source(table="error_events", columns=("n", "retryable"), counts=_error),
        # A run is told when it starts and again when it ends; it is counted once, at its end.
        Source(
            table="runs",
            columns=("n", "simulated"),
            counts=_run,
            value=lambda row: row.get("duration_ms"),
            moment="started_at",
            is_counted=lambda row: row["status"] != "running",
        ),
    )
}  # fmt: skip

ROLLUPS: Mapping[str, tuple[Rollup, ...]] = {
    "llm_calls": (
        Rollup(
            name="rollup_calls",
            keys=("deployment", "model", "provider"),
            sums=SOURCES["llm_calls"].columns,
            histogram=True,
            last_at=True,
        ),
        Rollup(
            name="rollup_spend",
            keys=("role", "agent_id", "model"),
            sums=("n", "ok", "stopped", "cached", "tokens_in", "tokens_out", "cost_uusd", "unpriced",
                  "unpriced_tokens", "paid", "paid_uusd"),
        ),
        Rollup(name="rollup_degraded", keys=("degraded", "deployment"), sums=("n",), last_at=True, needs="degraded"),
    ),
    "performance_metrics": (
        Rollup(
            name="rollup_metrics",
            keys=("metric", "phase"),
            sums=SOURCES["performance_metrics"].columns,
            histogram=True,
            last_at=True,
            gauge=True,
        ),
    ),
    "agent_performance": (
        Rollup(
            name="rollup_agents",
            keys=("agent_id", "task_type"),
            sums=SOURCES["agent_performance"].columns,
            histogram=True,
            first_at=True,
            last_at=True,
        ),
        Rollup(name="rollup_agent_errors", keys=("agent_id", "error_class"), sums=("n",), needs="error_class"),
    ),
    "error_events": (
        Rollup(
            name="rollup_errors",
            keys=("fingerprint", "phase"),
            sums=SOURCES["error_events"].columns,
            first_at=True,
            last_at=True,
        ),
    ),
    "runs": (
        Rollup(
            name="rollup_runs",
            keys=("status", "workspace"),
            sums=SOURCES["runs"].columns,
            histogram=True,
            last_at=True,
        ),
    ),
}  # fmt: skip


def rollup_names() -> tuple[str, ...]:
    """The tables of all rollups."""
    return tuple(rollup.name for rollups in ROLLUPS.values() for rollup in rollups)
