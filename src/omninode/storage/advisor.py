"""How the dearest statements of this process run, and which tables the planner knows too little about.

Statement times are the `Database`'s own; plans come from the server (`EXPLAIN` of the generic plan, so no parameter
values are needed and nothing is executed).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from omninode.core.errors import DatabaseError
from omninode.storage.catalog import quoted
from omninode.storage.failures import translated
from omninode.storage.statements import StatementTimes

if TYPE_CHECKING:
    from omninode.storage.database import Database
    from omninode.storage.session import Session

__all__ = ["FullScan", "QueryAdvice", "QueryReport", "report_queries"]

_LARGE_TABLE_ROWS = 10_000
_PREPARED = "omninode_explained"


@dataclass(frozen=True, slots=True, kw_only=True)
class FullScan:
    """A plan reads every row of a large table to keep some."""

    table: str
    rows: int
    filter: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryAdvice:
    """One statement: how often and how long it ran, and what its plan would do."""

    statement: str
    calls: int
    total_ms: float
    mean_ms: float
    max_ms: float
    plan_cost: float | None
    full_scans: tuple[FullScan, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryReport:
    """Statements by the time they took, and the tables whose statistics were refreshed."""

    queries: tuple[QueryAdvice, ...]
    analyzed: tuple[str, ...]


async def report_queries(database: Database, *, limit: int = 20) -> QueryReport:
    """Refresh stale statistics, then explain the `limit` dearest statements."""
    dearest = sorted(database.statement_times().items(), key=lambda item: -item[1].total_ms)[:limit]
    async with database.acquire(doing="query report") as session:
        analyzed = await _refresh_statistics(session)
        sizes = {row["table"]: (row["whole"], row["rows"]) for row in await session.fetch("indexes.table_rows")}
        queries = [await _advice(database, session, name, times=times, sizes=sizes) for name, times in dearest]
    return QueryReport(queries=tuple(queries), analyzed=analyzed)


async def _refresh_statistics(session: Session) -> tuple[str, ...]:
    stale = await session.fetch("indexes.stale_tables")
    for row in stale:
        with translated(f"analyze {row['table']}"):
            await session.driver.execute(f"ANALYZE {quoted(row['schema'])}.{quoted(row['table'])}")
    return tuple(row["table"] for row in stale)


async def _advice(
    database: Database, session: Session, name: str, *, times: StatementTimes, sizes: Mapping[str, tuple[str, int]]
) -> QueryAdvice:
    try:
        plan = await _plan_of(session, database.queries.text(name))
    except DatabaseError:
        plan = None  # a statement without a plan (LOCK, CREATE), or one this server would not take
    return QueryAdvice(
        statement=name,
        calls=times.calls,
        total_ms=times.total_ms,
        mean_ms=times.total_ms / max(1, times.calls),
        max_ms=times.max_ms,
        plan_cost=None if plan is None else _cost(plan),
        full_scans=() if plan is None else tuple(_full_scans(plan, sizes)),
    )


async def _plan_of(session: Session, text: str) -> Mapping[str, object]:
    # The driver cannot send EXPLAIN (GENERIC_PLAN) with parameters in it; a prepared statement gets the same plan.
    driver = session.driver
    with translated("explain"):
        # One transaction, so that behind a proxy too all of it meets one connection, which keeps nothing of it.
        async with session.rolled_back():
            await driver.execute("SET LOCAL plan_cache_mode = force_generic_plan")
            await driver.execute(f"PREPARE {_PREPARED} AS {text}")
            try:
                async with session.transaction():  # one that fails leaves the rest of the transaction usable
                    count = await session.fetchval("indexes.parameter_count", _PREPARED)
                    values = f"({', '.join(['NULL'] * count)})" if count else ""
                    answer = await driver.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE {_PREPARED} {values}")
            finally:
                await driver.execute(f"DEALLOCATE {_PREPARED}")
    return _root(answer)


def _root(answer: object) -> Mapping[str, object]:
    assert isinstance(answer, list)
    plan = answer[0]["Plan"]
    assert isinstance(plan, dict)
    return plan


def _cost(plan: Mapping[str, object]) -> float:
    cost = plan.get("Total Cost")
    return float(cost) if isinstance(cost, int | float) else 0.0


def _nodes(plan: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    yield plan
    parts = plan.get("Plans")
    for part in parts if isinstance(parts, list) else []:
        yield from _nodes(part)


def _full_scans(plan: Mapping[str, object], sizes: Mapping[str, tuple[str, int]]) -> Iterator[FullScan]:
    found: dict[tuple[str, str], int] = {}
    for node in _nodes(plan):
        whole, rows = sizes.get(str(node.get("Relation Name", "")), ("", 0))
        if node.get("Node Type") == "Seq Scan" and "Filter" in node:
            # The children of a partitioned table count as the one table they are to everybody.
            key = (whole, str(node["Filter"]))
            found[key] = found.get(key, 0) + max(0, rows)
    for (table, condition), rows in found.items():
        if rows >= _LARGE_TABLE_ROWS:
            yield FullScan(table=table, rows=rows, filter=condition)
