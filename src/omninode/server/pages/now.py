"""The front page: is it healthy now?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from omninode.analytics.latency import sketch_of
from omninode.analytics.recommend import wilson
from omninode.server.node import Row
from omninode.server.pages.question import Panel, Question

__all__ = ["GAUGES", "load", "percentiles", "series"]

# Metrics of the resource sampler, in the order in which they are shown.
GAUGES: Final = (
    ("cpu_percent", "CPU"),
    ("rss_bytes", "Memory"),
    ("database_connections_in_use", "Connections in use"),
    ("pool_wait_p99_ms", "Pool wait, p99"),
    ("loop_lag_ms", "Loop lag"),
)
_PHASES: Final = (
    "input_validation",
    "context_gathering",
    "task_decomposition",
    "quorum_validation",
    "parallel_execution",
    "result_aggregation",
    "reporting",
)


async def load(question: Question) -> Panel:
    """Totals of runs and calls, their course, resources, phases, alerts, the last runs."""
    runs = (await question.windowed("server_now.runs"))[0]
    calls = (await question.windowed("server_now.calls"))[0]
    latest = await question.rows("server_runs.page", question.now.replace(year=9999), _LAST_ID, None, 9)
    return {
        "runs": run_totals(runs, elapsed_h=question.elapsed_h),
        "calls": call_totals(calls, elapsed_h=question.elapsed_h),
        "series": await series(question),
        "phases": _phases(await question.windowed("server_now.phases")),
        "gauges": await _gauges(question),
        "alerts": [dict(row) for row in await question.windowed("server_now.alerts")],
        "latest": [dict(row) for row in latest],
        "resources": dict(question.node.resources()),
        "pulse": asdict(question.feed.pulse()),
        "live": question.feed.recent(40),
    }


_LAST_ID: Final = "ffffffff-ffff-ffff-ffff-ffffffffffff"


def run_totals(row: Row, *, elapsed_h: float) -> Panel:
    """Counts, success with its interval, and durations of runs."""
    judged = row["done"] + row["failed"]
    return {
        **{name: row[name] for name in ("n", "running", "done", "failed", "refused", "cancelled", "simulated")},
        "judged": judged,
        "success": row["done"] / judged if judged else None,
        "interval": wilson(row["done"], judged) if judged else None,
        "per_hour": row["n"] / elapsed_h,
        **percentiles(row["latency"]),
        "newest": row["newest"],
    }


def call_totals(row: Row, *, elapsed_h: float) -> Panel:
    """Counts, error rate with its interval, durations, tokens and cost of calls."""
    n, failed = row["n"] - row["stopped"], row["n"] - row["ok"] - row["stopped"]
    counts = (
        "n",
        "ok",
        "stopped",
        "cached",
        "degraded",
        "unpriced",
        "simulated",
        "attempts",
        "tokens_in",
        "tokens_out",
    )
    return {
        **{name: row[name] for name in counts},
        "failed": failed,
        "error_rate": failed / n if n else None,
        "interval": wilson(failed, n) if n else None,
        "judged": n,
        "per_minute": row["n"] / (elapsed_h * 60),
        "attempts_per_call": row["attempts"] / n if n else None,
        "cost_uusd": row["cost_uusd"],
        "cost_uusd_per_hour": row["cost_uusd"] / elapsed_h,
        **percentiles(row["latency"]),
        "newest": row["newest"],
    }


def percentiles(histogram: str | None) -> Mapping[str, int | None]:
    """`p50_ms`, `p95_ms` and `p99_ms` of a histogram, within 5 %; None where nothing was measured."""
    times = sketch_of([histogram])
    found = {name: times.quantile(q) for name, q in (("p50_ms", 0.5), ("p95_ms", 0.95), ("p99_ms", 0.99))}
    return {name: None if value is None else round(value) for name, value in found.items()}


async def series(question: Question) -> list[Panel]:
    """One entry per bucket of the window, those without a call too."""
    calls = {row["bucket"]: row for row in await question.windowed("server_now.series", question.window.bucket)}
    runs = {row["bucket"]: row for row in await question.windowed("server_now.run_series", question.window.bucket)}
    return [
        _bucket(at, calls.get(at), runs.get(at), hours=question.window.bucket.total_seconds() / 3600)
        for at in question.window.buckets()
        if at <= question.now
    ]


def _bucket(at: object, calls: Row | None, runs: Row | None, *, hours: float) -> Panel:
    bucket: dict[str, Any] = {
        "at": at,
        "runs": 0,
        "done": 0,
        "failed_runs": 0,
        "run_p50_ms": None,
        "run_p95_ms": None,
    }  # Any: see Panel
    if runs is not None:
        shape = percentiles(runs["latency"])
        bucket |= {"runs": runs["runs"], "done": runs["done"], "failed_runs": runs["failed"]}
        bucket |= {"run_p50_ms": shape["p50_ms"], "run_p95_ms": shape["p95_ms"]}
    judged = bucket["done"] + bucket["failed_runs"]
    bucket["success"] = bucket["done"] / judged if judged else None
    if calls is None:
        empty = {"calls": 0, "failed": 0, "degraded": 0, "tokens": 0, "cost_uusd": 0, "attempts_per_call": None}
        return {**bucket, **empty, "error_rate": None, "cost_uusd_per_hour": 0.0, **percentiles(None)}
    n = max(1, calls["calls"] - calls["stopped"])
    return {
        **bucket,
        **{name: calls[name] for name in ("calls", "failed", "degraded", "tokens", "cost_uusd")},
        "attempts_per_call": calls["attempts"] / n,
        "error_rate": calls["failed"] / n,
        "cost_uusd_per_hour": calls["cost_uusd"] / hours,
        **percentiles(calls["latency"]),
    }


def _phases(rows: Sequence[Row]) -> list[Panel]:
    known = {row["phase"]: row for row in rows}
    ordered = [name for name in _PHASES if name in known] + sorted(set(known) - set(_PHASES) - {None})
    return [
        {
            "phase": name,
            "n": known[name]["n"],
            "failed": known[name]["failed"],
            **percentiles(known[name]["latency"]),
        }
        for name in ordered
    ]


async def _gauges(question: Question) -> list[Panel]:
    rows = await question.windowed("server_now.gauges", [name for name, _ in GAUGES])
    known = {row["metric"]: row for row in rows}
    return [{**known[name], "label": label} for name, label in GAUGES if name in known]
