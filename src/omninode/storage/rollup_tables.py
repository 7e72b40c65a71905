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
    """A table whose rows are counted: the column of their time, what is counted of them, and their measured value.

    Rows are counted in lots. In a lot all rows agree in the columns `alike`; of the columns `added` it has the sum, or
    None when all are NULL. `counts` takes a lot and how many rows it has. `value` is the measured column; its values
    are no response times where `is_measured` says so of a lot. `is_counted` is False for a row not counted yet.
    """

    table: str
    columns: tuple[str, ...]
    counts: Callable[[Row, int], tuple[int | float, ...]]
    alike: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    value: str | None = None
    is_measured: Callable[[Row], bool] | None = None
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


def _call(lot: Row, n: int) -> tuple[int | float, ...]:
    ok, cost, attempts, degraded = lot["ok"], lot.get("cost_uusd"), lot.get("attempts", 1), lot.get("degraded")
    hit, stopped = _is_hit(lot), _is_stopped(lot)
    sent, received = lot.get("tokens_in", 0), lot.get("tokens_out", 0)
    unpriced = cost is None and not hit and not stopped
    paid = cost is not None and ok and not hit
    return (
        n,
        n * ok,
        n * stopped,
        n * hit,
        n * (degraded is not None),
        n * (attempts > 1),
        n * (attempts > 1 and ok),
        n * lot.get("is_simulated", False),
        n * attempts,
        sent,
        received,
        0 if hit or cost is None else cost,
        n * unpriced,
        n * (ok and cost is None),
        sent + received if unpriced else 0,
        n * paid,
        (cost or 0) if paid else 0,
    )


def _is_hit(lot: Row) -> bool:
    return lot.get("cache") in {"hit", "shared"}


def _is_stopped(lot: Row) -> bool:
    return not lot["ok"] and lot.get("error_class") == _STOPPED


def _measurement(lot: Row, n: int) -> tuple[int | float, ...]:
    return (n, n * (not lot.get("ok", True)), lot["value"])


def _outcome(lot: Row, n: int) -> tuple[int | float, ...]:
    cost = lot.get("cost_uusd")
    return (
        n,
        n * lot["success"],
        lot["duration_ms"],
        lot.get("tokens_in", 0),
        lot.get("tokens_out", 0),
        0 if cost is None else cost,
        n * (cost is None),
    )


def _error(lot: Row, n: int) -> tuple[int | float, ...]:
    return (n, n * lot["retryable"])


def _run(lot: Row, n: int) -> tuple[int | float, ...]:
    return (n, n * lot.get("is_simulated", False))


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
            alike=("ok", "cache", "error_class", "attempts", "degraded", "is_simulated"),
            added=("tokens_in", "tokens_out", "cost_uusd"),
            value="duration_ms",
            is_measured=lambda lot: not _is_hit(lot) and not _is_stopped(lot),
        ),
        Source(
            table="performance_metrics",
            columns=("n", "failed", "total"),
            counts=_measurement,
            alike=("ok",),
            added=("value",),
            value="value",
        ),
        Source(
            table="agent_performance",
            columns=("n", "successes", "duration_ms", "tokens_in", "tokens_out", "cost_uusd", "unpriced"),
            counts=_outcome,
            alike=("success",),
            added=("duration_ms", "tokens_in", "tokens_out", "cost_uusd"),
            value="duration_ms",
        ),
        Source(table="error_events", columns=("n", "retryable"), counts=_error, alike=("retryable",)),
        # A run is told when it starts and again when it ends; it is counted once, at its end.
        Source(
            table="runs",
            columns=("n", "simulated"),
            counts=_run,
            alike=("is_simulated",),
            value="duration_ms",
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
