"""Which indexes the workload asks for, each with its evidence, and which of those are worth their cost.

A full scan of a large table by a statement that runs often is a candidate. It is tried without being built
(`what_if`), and weighed: what it spares the readers in an hour against what it costs the writers, and its size.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from omninode.storage.candidates import candidate_columns
from omninode.storage.catalog import Catalog, Table
from omninode.storage.plans import FullScan, Plan
from omninode.storage.what_if import try_index
from omninode.storage.workload import Statement

if TYPE_CHECKING:
    from omninode.storage.session import Session

__all__ = ["IndexAdvice", "Planned", "advise_indexes"]

_LEAST_GAIN = 5.0
_LARGEST_SHARE = 0.2
# What keeping one more index costs for a row that is inserted in random order, the dearest kind: measured, with room.
_WRITE_MS = 0.0023


@dataclass(frozen=True, slots=True)
class Planned:
    """A statement with its plan and the full scans in it."""

    statement: Statement
    plan: Plan
    scans: tuple[FullScan, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexAdvice:
    """An index that statements ask for; `is_worth_it` says whether to build it, `reason` why or why not.

    `texts` are the statements in SQL. `gain` is how many times cheaper the statement that gains most becomes, by the planner's estimate. `saved_ms` and
    `cost_ms` are milliseconds in an hour: spared the readers, and spent by the writers. `how` is 'hypopg' or 'sample'.
    """

    table: str
    columns: tuple[str, ...]
    statements: tuple[str, ...]
    texts: tuple[str, ...]
    gain: float
    saved_ms: float
    cost_ms: float
    size_bytes: int
    how: str
    is_worth_it: bool
    reason: str


async def advise_indexes(session: Session, planned: Sequence[Planned], *, catalog: Catalog) -> tuple[IndexAdvice, ...]:
    """Every index that the full scans of `planned` could use, worth it or not, the best first."""
    found: dict[tuple[str, tuple[str, ...]], IndexAdvice] = {}
    for entry in planned:
        for scan in entry.scans:
            table = await catalog.table(session, scan.table)
            columns = candidate_columns(scan, columns=tuple(table.columns))
            if not columns:
                continue
            advice = await _advice(session, entry.statement, scan, table=table, columns=columns)
            if advice is not None:
                key = (advice.table, columns)
                found[key] = _together(found[key], advice) if key in found else advice
    return tuple(sorted(map(_weighed, found.values()), key=lambda advice: (not advice.is_worth_it, -advice.saved_ms)))


async def _advice(
    session: Session, statement: Statement, scan: FullScan, *, table: Table, columns: tuple[str, ...]
) -> IndexAdvice | None:
    tried = await try_index(session, statement.text, table=table, columns=columns, rows=scan.rows)
    if tried is None:
        return None
    inserts: float = await session.fetchval("workload.inserts", table.quoted)
    heap_bytes: int = await session.fetchval("workload.heap_bytes", table.quoted)
    return IndexAdvice(
        table=scan.table,
        columns=columns,
        statements=(statement.name,),
        texts=(statement.text,),
        gain=tried.gain,
        saved_ms=statement.ms_per_hour * (1.0 - 1.0 / max(1.0, tried.gain)),
        cost_ms=inserts * _WRITE_MS,
        size_bytes=tried.size_bytes,
        how=tried.how,
        is_worth_it=tried.size_bytes <= _LARGEST_SHARE * heap_bytes,
        reason="" if tried.is_used else "the planner would not use it",
    )


def _together(first: IndexAdvice, other: IndexAdvice) -> IndexAdvice:
    """Two statements that one index serves: what it spares adds up, what it costs does not."""
    return replace(
        max(first, other, key=lambda advice: advice.gain),
        statements=_unique([*first.statements, *other.statements]),
        texts=_unique([*first.texts, *other.texts]),
        saved_ms=first.saved_ms + other.saved_ms,
    )


def _weighed(advice: IndexAdvice) -> IndexAdvice:
    reason = advice.reason
    if not reason and advice.gain < _LEAST_GAIN:
        reason = f"{advice.gain:.1f} times cheaper is less than {_LEAST_GAIN:g}"
    elif not reason and advice.saved_ms <= advice.cost_ms:
        reason = f"it spares readers {advice.saved_ms:,.0f} ms an hour and costs writers {advice.cost_ms:,.0f} ms"
    elif not reason and not advice.is_worth_it:
        reason = f"its {advice.size_bytes / 1e6:,.0f} MB are more than a fifth of the table"
    if reason:
        return replace(advice, is_worth_it=False, reason=reason)
    return replace(advice, is_worth_it=True, reason=f"{advice.gain:,.0f} times cheaper")


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
