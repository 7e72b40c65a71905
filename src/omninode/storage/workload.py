"""What the database is asked, and what that costs: our own statements, and everybody's where the server counts them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from omninode.core.errors import DefectError
from omninode.storage.statements import StatementTimes

if TYPE_CHECKING:
    from omninode.storage.database import Database
    from omninode.storage.session import Session

__all__ = ["Statement", "TimesLog", "read_workload"]

_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
# A statement that has just run for the first time does not run a thousand times an hour.
_LEAST_HOURS = 1 / 60
_PLANNED = ("select", "with", "update", "delete", "insert", "values", "merge")


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One statement, its parameters as $1, $2 and so on; `hours` is how long it has been watched.

    `name` is 'file.statement' for one of ours, the beginning of the text for another's. `is_ours` says whose.
    """

    name: str
    text: str
    calls: int
    total_ms: float
    max_ms: float
    hours: float
    is_ours: bool = True

    @property
    def fingerprint(self) -> str:
        """The same for the same text, however it is spaced."""
        return hashlib.sha256(_plain(self.text).encode()).hexdigest()[:16]

    @property
    def mean_ms(self) -> float:
        """Of one call."""
        return self.total_ms / max(1, self.calls)

    @property
    def ms_per_hour(self) -> float:
        """What it costs in an hour."""
        return self.total_ms / self.hours


class TimesLog:
    """Adds what the statements of this process cost to what they cost all processes together."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._saved: Mapping[str, StatementTimes] = {}

    async def save(self) -> None:
        """Store what has come since the last time; raises DatabaseError when the database is away or refuses."""
        times = self._database.statement_times()
        added = sorted(
            (name, entry.calls - before.calls, entry.total_ms - before.total_ms, entry.max_ms)
            for name, entry in times.items()
            if entry.calls > (before := self._saved.get(name, StatementTimes())).calls
        )
        if added:
            await self._database.execute("workload.add_times", *map(list, zip(*added, strict=True)))
            self._saved = times
        await self._database.execute("workload.forget_times")


async def read_workload(database: Database, session: Session, *, limit: int) -> tuple[Statement, ...]:
    """The `limit` dearest statements of an hour: ours of all processes and, with pg_stat_statements, everybody's."""
    found: dict[str, Statement] = {}
    for statement in (
        *await _saved(database, session),
        *_of_this_process(database),
        *await _counted_by_server(session, limit=5 * limit),
    ):
        if _is_planned(statement.text):
            found.setdefault(statement.fingerprint, statement)
    return _dearest(found.values(), limit)


def _of_this_process(database: Database) -> Iterator[Statement]:
    for name, times in database.statement_times().items():
        yield Statement(
            name=name,
            text=database.queries.text(name),
            calls=times.calls,
            total_ms=times.total_ms,
            max_ms=times.max_ms,
            hours=database.watched_hours,
        )


async def _saved(database: Database, session: Session) -> list[Statement]:
    found = []
    for row in await session.fetch("workload.times"):
        # A statement of another release is none of ours any more.
        with suppress(DefectError):
            found.append(
                Statement(
                    name=row["statement"],
                    text=database.queries.text(row["statement"]),
                    calls=row["calls"],
                    total_ms=row["total_ms"],
                    max_ms=row["max_ms"],
                    hours=max(row["hours"], _LEAST_HOURS),
                )
            )
    return found


def _dearest(statements: Iterable[Statement], limit: int) -> tuple[Statement, ...]:
    return tuple(sorted(statements, key=lambda statement: -statement.ms_per_hour)[:limit])


async def _counted_by_server(session: Session, *, limit: int) -> list[Statement]:
    if not await session.fetchval("workload.has_statements"):
        return []
    return [
        Statement(
            name=_plain(row["query"])[:60],
            text=row["query"],
            calls=row["calls"],
            total_ms=row["total_ms"],
            max_ms=row["max_ms"],
            hours=max(row["hours"], _LEAST_HOURS),
            is_ours=False,
        )
        for row in await session.fetch("workload.statements", limit)
    ]


def _plain(text: str) -> str:
    return " ".join(_COMMENT.sub(" ", text).split())


def _is_planned(text: str) -> bool:
    return _plain(text).lower().startswith(_PLANNED)
