"""Ending the life of rows that are older than they are kept for.

A child of a partitioned table goes as a whole: DETACH, then DROP, which costs the same whatever it holds and leaves no
bloat. Small tables lose single rows, a bounded number a run. One process does it at a time, and nobody waits longer than
two seconds for its locks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from omninode.core.errors import DatabaseError
from omninode.storage.catalog import quoted
from omninode.storage.failures import translated
from omninode.storage.partitions import WIDTHS, Child, children
from omninode.storage.rollup_tables import rollup_names
from omninode.storage.session import touched

if TYPE_CHECKING:
    from omninode.storage.database import Database
    from omninode.storage.session import Session

__all__ = ["PruneReport", "prune"]

# What a run may do at most, so that it ends; the next one goes on.
_MOST_CHILDREN = 50
_MOST_ROWS = 10_000
_TURNS = 10
_BUSY = "55P03"
_GRAINS = {"rollup_minutes": "minute", "rollup_hours": "hour"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneReport:
    """What one run ended: children by name, rows by table; `postponed` names what others held in use."""

    dropped: tuple[str, ...] = ()
    deleted: Mapping[str, int] = field(default_factory=dict)
    postponed: tuple[str, ...] = ()


async def prune(database: Database, days: Mapping[str, float], *, now: datetime) -> PruneReport:
    """End the life of everything older than `days` (by table; 0: kept for ever), as far as one run may go.

    While another process prunes, nothing is done here. Raises DatabaseError when the database is away or refuses.
    """
    dropped, postponed = await _drop_children(database, days, now)
    deleted = {}
    for table, kept in days.items():
        if kept > 0:
            count = await _delete_rows(database, table, before=now - timedelta(days=kept))
            if count:
                deleted[table] = count
    return PruneReport(dropped=tuple(dropped), deleted=deleted, postponed=tuple(postponed))


async def _drop_children(database: Database, days: Mapping[str, float], now: datetime) -> tuple[list[str], list[str]]:
    dropped: list[str] = []
    postponed: list[str] = []
    async with database.acquire(doing="retention") as session:
        known = await children(session)
    for child in [child for child in known if _is_over(child, days, now)][:_MOST_CHILDREN]:
        try:
            if await _drop(database, child):
                dropped.append(child.name)
        except DatabaseError as error:
            if error.sqlstate != _BUSY:
                raise
            postponed.append(child.name)
    return dropped, postponed


def _is_over(child: Child, days: Mapping[str, float], now: datetime) -> bool:
    kept = days.get(child.parent, 0)
    return kept > 0 and child.until is not None and child.until <= now - timedelta(days=kept)


async def _drop(database: Database, child: Child) -> bool:
    # DETACH CONCURRENTLY is not allowed beside a DEFAULT child, so the parent is locked: briefly, or not at all.
    async with database.transaction(doing=f"retention of {child.parent}") as session:
        if not await session.fetchval("partitions.try_lock"):
            return False
        if child not in await children(session, [child.parent]):
            return False
        await session.execute("partitions.wait_briefly")
        with translated(f"drop {child.name}"):
            await session.driver.execute(f"ALTER TABLE {quoted(child.parent)} DETACH PARTITION {quoted(child.name)}")
            await session.driver.execute(f"DROP TABLE {quoted(child.name)}")
        return True


async def _delete_rows(database: Database, table: str, *, before: datetime) -> int:
    """Delete single rows: of a plain table, or those of a partitioned one that no child would take."""
    count = 0
    for _ in range(_TURNS):
        async with database.transaction(doing=f"retention of {table}") as session:
            if not await session.fetchval("partitions.try_lock"):
                break
            gone = await _delete_some(session, table, before)
        count += gone
        if gone < _MOST_ROWS:
            break
    return count


async def _delete_some(session: Session, table: str, before: datetime) -> int:
    if table in WIDTHS:
        return await _delete_strays(session, table, before)
    if table in _GRAINS:
        # Rollups are small, and their rows change: an hour's worth of them goes at a time, without any partition.
        return sum([await _delete_rollup(session, f"{name}_{_GRAINS[table]}", before) for name in rollup_names()])
    return await session.execute(f"partitions.expire_{table}", before, _MOST_ROWS)


async def _delete_rollup(session: Session, table: str, before: datetime) -> int:
    with translated(f"retention of {table}"):
        status = await session.driver.execute(
            f"DELETE FROM {quoted(table)} WHERE ctid = ANY (ARRAY("  # noqa: S608 - our own table
            f"SELECT ctid FROM {quoted(table)} WHERE bucket < $1 LIMIT $2))",
            before,
            _MOST_ROWS,
        )
    return touched(status)


async def _delete_strays(session: Session, table: str, before: datetime) -> int:
    child = quoted(f"{table}_default")
    with translated(f"stray rows of {table}"):
        status = await session.driver.execute(
            f"DELETE FROM {child} WHERE id IN (SELECT id FROM {child} WHERE ts < $1 LIMIT $2)",  # noqa: S608 - our own
            before,
            _MOST_ROWS,
        )
    return touched(status)
