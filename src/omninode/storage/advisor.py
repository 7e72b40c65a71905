"""What a look at the database finds: the dearest statements with their plans, what changed in those, and what to index.

Statement times are this process's own and, with pg_stat_statements, the server's; plans are those of the server.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from omninode.core.errors import BatchDataError, DatabaseError
from omninode.storage.catalog import Catalog, quoted
from omninode.storage.failures import translated
from omninode.storage.index_advice import IndexAdvice, Planned, advise_indexes
from omninode.storage.index_findings import IndexFinding, find_index_faults
from omninode.storage.indexes import IndexChange, build_advised, create_missing
from omninode.storage.lanes import Lane
from omninode.storage.plans import FullScan, TableSizes, plan_of, table_sizes
from omninode.storage.workload import Statement, read_workload

if TYPE_CHECKING:
    from omninode.storage.database import Database
    from omninode.storage.session import Session

__all__ = ["PlanFlip", "QueryAdvice", "QueryReport", "apply_advice", "find_flips", "report_queries"]

# Below this change of its cost, another plan is as good as the one before.
_FLIP_RATIO = 1.5


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
class PlanFlip:
    """A statement that is run in another way than when it was last looked at."""

    statement: str
    before: str
    after: str
    cost_before: float
    cost_after: float

    @property
    def is_dearer(self) -> bool:
        """Whether the planner itself expects it to cost clearly more than before."""
        return self.cost_after > _FLIP_RATIO * self.cost_before


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryReport:
    """Statements by the time they took; tables whose statistics were refreshed; plans that changed; indexes."""

    queries: tuple[QueryAdvice, ...]
    analyzed: tuple[str, ...]
    flips: tuple[PlanFlip, ...] = ()
    indexes: tuple[IndexAdvice, ...] = ()
    faults: tuple[IndexFinding, ...] = ()


async def report_queries(database: Database, *, limit: int = 20) -> QueryReport:
    """Refresh stale statistics, then explain the `limit` dearest statements and judge the indexes. Builds nothing."""
    async with database.acquire(lane=Lane.CONTROL, doing="query report") as session:
        analyzed = await _refresh_statistics(session)
        sizes = await table_sizes(session)
        statements = await read_workload(database, session, limit=limit)
        planned = await _planned(session, statements, sizes)
        return QueryReport(
            queries=tuple(_advice(statement, planned) for statement in statements),
            analyzed=analyzed,
            flips=await _flips(session, planned, sizes),
            indexes=await advise_indexes(session, planned, catalog=Catalog()),
            faults=await find_index_faults(session),
        )


async def apply_advice(database: Database, report: QueryReport) -> tuple[IndexChange, ...]:
    """Build what is missing for a plain reason and what `report` finds worth it, beside writers.

    What the planner then does not use for the statement it was for is dropped again. May take hours on large tables.
    """
    return (*await create_missing(database), *await build_advised(database, report.indexes))


async def find_flips(database: Database, *, limit: int = 20) -> tuple[PlanFlip, ...]:
    """Which of the `limit` dearest statements are run in another way than at the last look, and what is kept of it."""
    async with database.acquire(lane=Lane.CONTROL, doing="plans") as session:
        sizes = await table_sizes(session)
        planned = await _planned(session, await read_workload(database, session, limit=limit), sizes)
        return await _flips(session, planned, sizes)


async def _refresh_statistics(session: Session) -> tuple[str, ...]:
    stale = await session.fetch("indexes.stale_tables")
    for row in stale:
        with translated(f"analyze {row['table']}"):
            await session.driver.execute(f"ANALYZE {quoted(row['schema'])}.{quoted(row['table'])}")
    return tuple(row["table"] for row in stale)


async def _planned(session: Session, statements: Sequence[Statement], sizes: TableSizes) -> list[Planned]:
    found = []
    for statement in statements:
        try:
            plan = await plan_of(session, statement.text)
        except (DatabaseError, BatchDataError) as error:
            if error.retryable:
                raise
            continue  # one this server would not plan: a table that is gone, a right that is missing
        found.append(Planned(statement, plan, plan.full_scans(sizes)))
    return found


def _advice(statement: Statement, planned: Sequence[Planned]) -> QueryAdvice:
    entry = next((entry for entry in planned if entry.statement is statement), None)
    return QueryAdvice(
        statement=statement.name,
        calls=statement.calls,
        total_ms=statement.total_ms,
        mean_ms=statement.mean_ms,
        max_ms=statement.max_ms,
        plan_cost=None if entry is None else entry.plan.cost,
        full_scans=() if entry is None else entry.scans,
    )


async def _flips(session: Session, planned: Sequence[Planned], sizes: TableSizes) -> tuple[PlanFlip, ...]:
    prints = [entry.statement.fingerprint for entry in planned]
    known = {row["fingerprint"]: row for row in await session.fetch("workload.plans", prints)}
    found = []
    for entry in planned:
        statement, shape = entry.statement, entry.plan.shape(sizes)
        before = known.get(statement.fingerprint)
        if before is not None and before["shape"] != shape:
            found.append(
                PlanFlip(
                    statement=statement.name,
                    before=before["shape"],
                    after=shape,
                    cost_before=before["cost"],
                    cost_after=entry.plan.cost,
                )
            )
        await session.execute("workload.keep_plan", statement.fingerprint, statement.name, shape, entry.plan.cost)
    await session.execute("workload.forget_plans")
    return tuple(found)
