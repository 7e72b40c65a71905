"""Indexes that are missing for a plain reason, and creating them while others write."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from omninode.storage.catalog import quoted
from omninode.storage.connection import connect
from omninode.storage.failures import translated
from omninode.storage.session import Session

if TYPE_CHECKING:
    from omninode.storage.database import Database

__all__ = ["IndexChange", "create_missing", "find_missing"]

# What rows are looked up by, wherever a table has it.
_LOOKUPS = ("run_id",)
_NAME_LIMIT = 63


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexChange:
    """An index that was missing; `created` is False after a dry run. `undo` takes it away again."""

    schema: str
    table: str
    columns: tuple[str, ...]
    name: str
    reason: str
    created: bool = False

    @property
    def statement(self) -> str:
        """What creates it. CONCURRENTLY: writers go on meanwhile."""
        columns = ", ".join(quoted(column) for column in self.columns)
        return f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {quoted(self.name)} ON {self._table} ({columns})"

    @property
    def undo(self) -> str:
        """What removes it."""
        return f"DROP INDEX CONCURRENTLY IF EXISTS {quoted(self.schema)}.{quoted(self.name)}"

    @property
    def _table(self) -> str:
        return f"{quoted(self.schema)}.{quoted(self.table)}"


async def find_missing(session: Session) -> tuple[IndexChange, ...]:
    """The indexes this database lacks, each once, with the reason."""
    wanted: dict[tuple[str, str, tuple[str, ...]], str] = {}
    for row in await session.fetch("indexes.missing_foreign_keys"):
        wanted[row["schema"], row["table"], tuple(row["columns"])] = f"foreign key {row['reason']}"
    for row in await session.fetch("indexes.missing_lookups", list(_LOOKUPS)):
        wanted.setdefault((row["schema"], row["table"], (row["column"],)), f"rows are looked up by {row['column']}")
    return tuple(
        IndexChange(schema=schema, table=table, columns=columns, name=_name(table, columns), reason=reason)
        for (schema, table, columns), reason in wanted.items()
    )


async def create_missing(database: Database, *, dry_run: bool = False) -> tuple[IndexChange, ...]:
    """Create what `find_missing` finds, one after the other, on a connection of its own (building may take long)."""
    connection = await connect(database.config, pool=replace(database.pool, statement_timeout_s=3600))
    try:
        session = Session(connection, database.queries)
        missing = await find_missing(session)
        if dry_run:
            return missing
        return tuple([await _create(session, change) for change in missing])
    finally:
        await connection.close(timeout=5)


async def _create(session: Session, change: IndexChange) -> IndexChange:
    with translated(f"index {change.name}"):
        # A build that was interrupted leaves an invalid index of the same name behind.
        if await session.fetchval("indexes.invalid", change.schema, change.name):
            await session.driver.execute(change.undo)
        await session.driver.execute(change.statement)
    return IndexChange(
        schema=change.schema,
        table=change.table,
        columns=change.columns,
        name=change.name,
        reason=change.reason,
        created=True,
    )


def _name(table: str, columns: tuple[str, ...]) -> str:
    name = f"omn_auto_{table}_{'_'.join(columns)}"
    if len(name.encode()) <= _NAME_LIMIT:
        return name
    # The limit is in bytes; a digest keeps two long names apart.
    return f"omn_auto_{hashlib.sha256(name.encode()).hexdigest()[:24]}"
