"""What is told of agents' outcomes, and how it is read from rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from omninode.analytics.latency import percentile, sketch_of
from omninode.analytics.period import Period
from omninode.analytics.recommend import Basis, Interval, Record, mix_adjusted, wilson
from omninode.telemetry.sketch import Sketch

__all__ = [
    "AgentOutcomeRow",
    "AgentStanding",
    "AgentSummary",
    "AgentTrendPoint",
    "TaskTypeRecord",
    "outcome_row",
    "records",
    "standings",
    "summary_of",
    "trend_point",
]

# Any, wherever it stands below: a row of the driver, read by column name.
Rows = Sequence[Any]

# With fewer outcomes in the same context than this, all outcomes of the task type say more.
_ENOUGH_IN_CONTEXT = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTypeRecord:
    """An agent's outcomes of one task type."""

    task_type: str
    samples: int
    successes: int
    interval: Interval
    mean_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSummary:
    """One agent over a period. Percentiles are within 5 %.

    `p95_interval_ms` is where the 95th percentile lies, None with too few outcomes.
    """

    agent_id: str
    period: Period
    samples: int
    successes: int
    interval: Interval
    mean_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
    p95_interval_ms: Interval | None
    tokens_in: int
    tokens_out: int
    cost_uusd: int
    unpriced: int
    cost_per_success_uusd: float | None
    first_at: datetime | None
    last_at: datetime | None
    task_types: tuple[TaskTypeRecord, ...]
    errors: Mapping[str, int]

    @property
    def success_rate(self) -> float | None:
        """The share of outcomes that were good; None without any."""
        return self.successes / self.samples if self.samples else None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentStanding:
    """One line of the leaderboard, sorted by the lower end of `interval`."""

    agent_id: str
    samples: int
    successes: int
    interval: Interval
    adjusted_success_rate: float | None
    overlaps_leader: bool
    mean_ms: float
    p95_ms: float
    cost_uusd: int
    unpriced: int
    cost_per_success_uusd: float | None
    last_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentTrendPoint:
    """Outcomes of one bucket of time; without any, rates and times are None."""

    start: datetime
    samples: int
    successes: int
    mean_ms: float | None
    p95_ms: float | None
    cost_uusd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOutcomeRow:
    """One stored outcome; pass (`at`, `id`) of the last one as `before` to read on."""

    id: UUID
    at: datetime
    run_id: UUID | None
    task_type: str
    success: bool
    duration_ms: int
    tokens_in: int
    tokens_out: int
    cost_uusd: int | None
    error_class: str | None


def records(rows: Rows, basis: Basis, *, is_narrowed: bool = False) -> list[Record]:
    """The records of agents; of the same context only, when that is asked for and any agent has enough of those."""
    if is_narrowed:
        narrowed = [_record(row, "context", "context_") for row in rows if row["context_samples"] >= _ENOUGH_IN_CONTEXT]
        if narrowed:
            return narrowed
    return [_record(row, basis, "") for row in rows]


def summary_of(agent_id: str, period: Period, *, types: Rows, errors: Rows) -> AgentSummary:
    """One agent's summary from its rows per task type and its errors."""
    samples, successes = _sum(types, "samples"), _sum(types, "successes")
    cost, unpriced = _sum(types, "cost_uusd"), _sum(types, "unpriced")
    times = sketch_of(row["latency"] for row in types)
    total_ms = sum(row["mean_ms"] * row["samples"] for row in types)
    return AgentSummary(
        agent_id=agent_id,
        period=period,
        samples=samples,
        successes=successes,
        interval=wilson(successes, samples),
        mean_ms=total_ms / samples if samples else None,
        p50_ms=times.quantile(0.5),
        p95_ms=times.quantile(0.95),
        p95_interval_ms=_quantile_interval(times, 0.95),
        tokens_in=_sum(types, "tokens_in"),
        tokens_out=_sum(types, "tokens_out"),
        cost_uusd=cost,
        unpriced=unpriced,
        cost_per_success_uusd=_per_success(cost, successes, is_complete=unpriced == 0),
        first_at=min((row["first_at"] for row in types), default=None),
        last_at=max((row["last_at"] for row in types), default=None),
        task_types=tuple(_task_type(row) for row in types),
        errors={row["error_class"]: row["times"] for row in errors},
    )


def standings(rows: Rows) -> tuple[AgentStanding, ...]:
    """The leaderboard of `rows` per agent and task type, best first."""
    per_type: dict[str, int] = {}
    per_agent: dict[str, list[Any]] = {}
    for row in rows:
        per_type[row["task_type"]] = per_type.get(row["task_type"], 0) + row["samples"]
        per_agent.setdefault(row["agent_id"], []).append(row)
    whole = sum(per_type.values()) or 1
    shares = {kind: count / whole for kind, count in per_type.items()}
    intervals = {agent: wilson(_sum(group, "successes"), _sum(group, "samples")) for agent, group in per_agent.items()}
    order = sorted(intervals, key=lambda agent: (-intervals[agent].low, agent))
    return tuple(
        _standing(agent, per_agent[agent], intervals[agent], shares, leader=intervals[order[0]]) for agent in order
    )


def trend_point(start: datetime, row: Any) -> AgentTrendPoint:
    """The point of one bucket; `row` None for a bucket without outcomes."""
    if row is None:
        return AgentTrendPoint(start=start, samples=0, successes=0, mean_ms=None, p95_ms=None, cost_uusd=0)
    return AgentTrendPoint(
        start=start,
        samples=row["samples"],
        successes=row["successes"],
        mean_ms=row["mean_ms"],
        p95_ms=percentile(row["latency"], 0.95),
        cost_uusd=row["cost_uusd"] or 0,
    )


def outcome_row(row: Any) -> AgentOutcomeRow:
    """One stored outcome."""
    return AgentOutcomeRow(
        id=row["id"],
        at=row["ts"],
        run_id=row["run_id"],
        task_type=row["task_type"],
        success=row["success"],
        duration_ms=row["duration_ms"],
        tokens_in=row["tokens_in"],
        tokens_out=row["tokens_out"],
        cost_uusd=row["cost_uusd"],
        error_class=row["error_class"],
    )


def _record(row: Any, basis: Basis, prefix: str) -> Record:
    return Record(
        agent_id=row["agent_id"],
        samples=row[f"{prefix}samples"],
        successes=row[f"{prefix}successes"],
        mean_ms=row[f"{prefix}mean_ms"],
        cost_uusd=row[f"{prefix}cost_uusd"],
        basis=basis,
    )


def _task_type(row: Any) -> TaskTypeRecord:
    return TaskTypeRecord(
        task_type=row["task_type"],
        samples=row["samples"],
        successes=row["successes"],
        interval=wilson(row["successes"], row["samples"]),
        mean_ms=row["mean_ms"],
    )


def _standing(
    agent_id: str, rows: Rows, interval: Interval, shares: Mapping[str, float], *, leader: Interval
) -> AgentStanding:
    samples, successes = _sum(rows, "samples"), _sum(rows, "successes")
    cost, unpriced = _sum(rows, "cost_uusd"), _sum(rows, "unpriced")
    return AgentStanding(
        agent_id=agent_id,
        samples=samples,
        successes=successes,
        interval=interval,
        adjusted_success_rate=mix_adjusted(
            {row["task_type"]: (row["successes"], row["samples"]) for row in rows}, shares
        ),
        overlaps_leader=interval.overlaps(leader),
        mean_ms=sum(row["mean_ms"] * row["samples"] for row in rows) / samples,
        p95_ms=sketch_of(row["latency"] for row in rows).quantile(0.95) or 0.0,
        cost_uusd=cost,
        unpriced=unpriced,
        cost_per_success_uusd=_per_success(cost, successes, is_complete=unpriced == 0),
        last_at=max(row["last_at"] for row in rows),
    )


def _per_success(cost_uusd: int, successes: int, *, is_complete: bool) -> float | None:
    """None while some outcomes are unpriced: a price per success of half the bill would look like a bargain."""
    return cost_uusd / successes if successes and is_complete else None


def _quantile_interval(times: Sketch, q: float) -> Interval | None:
    """Where the quantile lies, at 95 %: the order statistics around its rank; None when they lie outside the sample."""
    count = times.count
    spread = 1.96 * math.sqrt(count * q * (1 - q))
    low, high = math.floor(count * q - spread), math.ceil(count * q + spread)
    if low < 0 or high >= count:
        return None
    ends = (times.quantile(rank / (count - 1)) for rank in (low, high))
    return Interval(*(end or 0.0 for end in ends))


def _sum(rows: Rows, column: str) -> int:
    return sum(row[column] or 0 for row in rows)
