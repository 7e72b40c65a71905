"""Who should do the next task of a kind: scoring, without any I/O.

An agent is ranked by the lower end of the 95 % Wilson interval of its success rate, so that 9 of 10 stands below 450
of 500: what has been seen often counts for more than what looks good. Agents that are as good as level are told apart
by time, then by cost.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, overload

from omninode.core.errors import InvalidArgumentError

__all__ = ["Basis", "Interval", "Record", "Recommendation", "Recommendations", "mix_adjusted", "ranked", "wilson"]

Basis = Literal["context", "task_type", "all_types", "no_data"]

_Z_95 = 1.959963984540054
# Lower bounds in one band of this width count as level; finer differences are noise at the sample sizes in question.
_BAND = 0.02
_FEW = 10


@dataclass(frozen=True, slots=True)
class Interval:
    """Two ends of where a rate lies."""

    low: float
    high: float

    def overlaps(self, other: Interval) -> bool:
        """Whether both could be the same rate."""
        return self.low <= other.high and other.low <= self.high


def wilson(successes: int, total: int, *, z: float = _Z_95) -> Interval:
    """The Wilson score interval of a success rate, at 95 % unless `z` says otherwise; 0 to 1 when nothing was tried."""
    if not 0 <= successes <= total:
        raise InvalidArgumentError(f"{successes} successes of {total}; successes lie between zero and the total")
    if total == 0:
        return Interval(0.0, 1.0)
    rate = successes / total
    middle = rate + z * z / (2 * total)
    spread = z * math.sqrt(rate * (1 - rate) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    # At the ends the exact value is 0 or 1; rounding must not put it beyond.
    low = 0.0 if successes == 0 else max(0.0, (middle - spread) / scale)
    high = 1.0 if successes == total else min(1.0, (middle + spread) / scale)
    return Interval(low, high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What an agent has done so far, of one kind of task or of all. Milliseconds and micro-dollars are means."""

    agent_id: str
    samples: int
    successes: int
    mean_ms: float
    cost_uusd: float | None = None
    basis: Basis = "task_type"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """One agent, with the reasons in sentences; `score` is the lower end of `interval`."""

    agent_id: str
    score: float
    success_rate: float
    interval: Interval
    samples: int
    mean_ms: float
    cost_per_success_uusd: float | None
    basis: Basis
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendations(Sequence[Recommendation]):
    """The best agents first; empty, with a `note` that says so, when nothing is known."""

    task_type: str
    basis: Basis
    note: str
    items: tuple[Recommendation, ...]

    @overload
    def __getitem__(self, index: int) -> Recommendation: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Recommendation, ...]: ...
    def __getitem__(self, index: int | slice) -> Recommendation | tuple[Recommendation, ...]:
        return self.items[index]

    def __len__(self) -> int:
        return len(self.items)


def ranked(task_type: str, records: Iterable[Record], *, limit: int = 3) -> Recommendations:
    """The `limit` best of `records` for tasks of `task_type`."""
    order = sorted(records, key=_order)
    basis = order[0].basis if order else "no_data"
    leader = wilson(order[0].successes, order[0].samples) if order else Interval(0.0, 1.0)
    fastest = min((record.mean_ms for record in order), default=0.0)
    return Recommendations(
        task_type=task_type,
        basis=basis,
        note=_note(task_type, basis, order),
        items=tuple(
            _recommendation(record, leader=leader, is_fastest=record.mean_ms <= fastest and len(order) > 1)
            for record in order[:limit]
        ),
    )


def mix_adjusted(by_type: Mapping[str, tuple[int, int]], shares: Mapping[str, float]) -> float | None:
    """An agent's success rate had it met every task type as often as all agents together did.

    `by_type` holds (successes, samples) per task type, `shares` how common each type is overall. A pooled rate rewards
    whoever gets the easy tasks (Simpson's paradox). Types the agent never met are left out; None when it met none.
    """
    met = {kind: counts for kind, counts in by_type.items() if counts[1] and shares.get(kind, 0.0) > 0}
    weight = sum(shares[kind] for kind in met)
    if not weight:
        return None
    return sum(shares[kind] * good / samples for kind, (good, samples) in met.items()) / weight


def _order(record: Record) -> tuple[int, float, float, str]:
    band = -int(wilson(record.successes, record.samples).low / _BAND)
    cost = _per_success(record)
    return band, record.mean_ms, math.inf if cost is None else cost, record.agent_id


def _per_success(record: Record) -> float | None:
    if record.cost_uusd is None or not record.successes:
        return None
    return record.cost_uusd * record.samples / record.successes


def _recommendation(record: Record, *, leader: Interval, is_fastest: bool) -> Recommendation:
    interval = wilson(record.successes, record.samples)
    rate = record.successes / record.samples if record.samples else 0.0
    reasons = [
        f"{record.successes} of {record.samples} tasks succeeded; the true rate is {interval.low:.0%} to {interval.high:.0%}",
        f"takes {record.mean_ms / 1000:.1f} s on average" + (", the fastest of those known" if is_fastest else ""),
    ]
    per_success = _per_success(record)
    if per_success is not None:
        reasons.append(f"costs {per_success / 1e6:.4f} USD per success")
    if interval is not leader and interval.low < leader.low and interval.overlaps(leader):
        reasons.append("may be as good as the first: the intervals overlap")
    if record.samples < _FEW:
        reasons.append(f"only {record.samples} outcomes are known; treat this as a first impression")
    if record.basis == "context":
        reasons.append("counted from outcomes in the same context")
    elif record.basis == "all_types":
        reasons.append("counted over all task types, because this type has no outcomes yet")
    return Recommendation(
        agent_id=record.agent_id,
        score=interval.low,
        success_rate=rate,
        interval=interval,
        samples=record.samples,
        mean_ms=record.mean_ms,
        cost_per_success_uusd=per_success,
        basis=record.basis,
        reasons=tuple(reasons),
    )


def _note(task_type: str, basis: Basis, order: Sequence[Record]) -> str:
    seen = sum(record.samples for record in order)
    match basis:
        case "no_data":
            return f"no outcome of any agent is known, so nobody is recommended for {task_type!r}"
        case "all_types":
            return f"no outcome of type {task_type!r} is known; ranked by {seen} outcomes of other types"
        case "context":
            return f"ranked by {seen} outcomes of type {task_type!r} in the same context"
        case _:
            return f"ranked by {seen} outcomes of type {task_type!r}"
