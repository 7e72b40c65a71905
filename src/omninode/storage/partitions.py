"""The children of the tables that are partitioned by time: which there should be, and making them ahead.

A child holds the ids of one day or one week (`uuid7` begins with the moment it was made). What fits no child lands in
the DEFAULT child: a row that is late gets its child and moves there; one whose id tells no time, or a time to come, is a
stray, and somebody should look at the clock it came from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from omninode.core.ids import time_of
from omninode.storage.catalog import quoted
from omninode.storage.failures import translated

if TYPE_CHECKING:
    from omninode.storage.database import Database
    from omninode.storage.session import Session

__all__ = ["AHEAD", "WIDTHS", "Child", "children", "floor", "make_children", "missing_children", "strays"]

_DAY, _WEEK = timedelta(days=1), timedelta(days=7)
# A question that cannot tell the time of its rows looks into every child, so there should be few: a day each where rows
# are many or live for days only, else a week each.
WIDTHS: Mapping[str, timedelta] = {
    "performance_metrics": _DAY,
    "llm_calls": _WEEK,
    "agent_performance": _WEEK,
    "error_events": _WEEK,
    "tasks": _WEEK,
    "votes": _WEEK,
    "batch_operation_logs": _WEEK,
    "llm_payloads": _DAY,
}
AHEAD = 3
# Late rows may need a child each; the rest of them is for the next turn.
_MOST_AT_ONCE = 60
_EPOCH = datetime.fromtimestamp(0, tz=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """The part of `parent` for ids made in [since, until); without both it is the DEFAULT child."""

    parent: str
    name: str
    since: datetime | None
    until: datetime | None

    @property
    def is_default(self) -> bool:
        """Whether it takes what fits no other."""
        return self.since is None and self.until is None


def floor(moment: datetime, width: timedelta) -> datetime:
    """The beginning of the child that holds `moment`; children begin at multiples of their width since 1970."""
    return moment - (moment - _EPOCH) % width


async def children(session: Session, tables: Iterable[str] = WIDTHS) -> tuple[Child, ...]:
    """Every child of `tables`, by table and time."""
    rows = await session.fetch("partitions.children", list(tables))
    return tuple(
        Child(parent=row["parent"], name=row["child"], since=_moment(row["low"]), until=_moment(row["high"]))
        for row in rows
    )


def missing_children(
    known: Sequence[Child], width: timedelta, moments: Iterable[datetime]
) -> tuple[tuple[datetime, datetime], ...]:
    """The [since, until) of the children that `moments` still need; they never overlap with those `known`."""
    taken = sorted((child.since, child.until) for child in known if child.since is not None and child.until is not None)
    wanted = []
    for begin in sorted({floor(moment, width) for moment in moments}):
        # A width that was changed leaves children inside what is one child now: the gaps between them are wanted.
        since = begin
        for low, high in [*taken, (begin + width, begin + width)]:
            until = min(low, begin + width)
            if since < until:
                wanted.append((since, until))
            since = max(since, high)
    return tuple(wanted)


async def make_children(database: Database, now: datetime, *, keep: Mapping[str, timedelta] | None = None) -> int:
    """Make the children that rows of the coming time need, and those of late rows; how many were made.

    `keep` says how old late rows may be to be given a child. One process does it at a time; while another does,
    nothing is done here. Raises DatabaseError, for a lock that could not be had within two seconds too (retryable).
    """
    made = 0
    # Most often there is nothing to do, and then no lock is taken.
    async with database.acquire(doing="partitions") as session:
        known = await children(session)
        wanted = {
            table: await _wanted(session, table, known=known, now=now, keep=(keep or {}).get(table)) for table in WIDTHS
        }
    for table, ranges in wanted.items():
        for since, until in ranges[:_MOST_AT_ONCE]:
            async with database.transaction(doing=f"a child of {table}") as session:
                if not await session.fetchval("partitions.try_lock"):
                    return made
                if not _is_covered(await children(session, [table]), since):
                    await session.execute("partitions.wait_briefly")
                    await session.fetchval("partitions.add_child", table, since, until)
                    made += 1
    return made


async def _wanted(
    session: Session, table: str, *, known: Sequence[Child], now: datetime, keep: timedelta | None
) -> tuple[tuple[datetime, datetime], ...]:
    own = [child for child in known if child.parent == table]
    if not own:
        return ()  # a database without this table: nothing to make children of
    width = WIDTHS[table]
    late = await _late(session, table, since=_EPOCH if keep is None else now - keep, until=now)
    return missing_children(own, width, [*(now + number * width for number in range(AHEAD + 1)), *late])


async def _late(session: Session, table: str, *, since: datetime, until: datetime) -> list[datetime]:
    """The days of the rows in the DEFAULT child that have a place in time between `since` and `until`."""
    statement = (
        "SELECT DISTINCT date_bin('1 day', omn_time(id), 'epoch') AS day "  # noqa: S608 - our own table
        f"FROM {quoted(table + '_default')} WHERE id >= omn_floor($1) AND id < omn_floor($2) "
        "AND omn_time(id) IS NOT NULL LIMIT 1000"
    )
    with translated(f"late rows of {table}"):
        return [row["day"] for row in await session.driver.fetch(statement, since, until)]


async def strays(session: Session) -> Mapping[str, int]:
    """How many rows the DEFAULT child of each table holds, counted up to 10,000; tables without any are left out."""
    found = {}
    for child in await children(session):
        if child.is_default:
            with translated(f"stray rows of {child.parent}"):
                count = await session.driver.fetchval(
                    f"SELECT count(*) FROM (SELECT FROM {quoted(child.name)} LIMIT 10000) AS counted"  # noqa: S608
                )
            if count:
                found[child.parent] = count
    return found


def _is_covered(known: Iterable[Child], moment: datetime) -> bool:
    return any(child.since and child.until and child.since <= moment < child.until for child in known)


def _moment(bound: UUID | None) -> datetime | None:
    return None if bound is None else time_of(bound)
