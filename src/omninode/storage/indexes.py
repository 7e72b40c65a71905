"""Indexes that are missing, and building them while others write.

Missing for a plain reason (a foreign key, a column rows are looked up by), or because the workload asks for them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from omninode.storage.catalog import Catalog, quoted
from omninode.storage.connection import connect
from omninode.storage.failures import translated
from omninode.storage.plans import plan_of
from omninode.storage.session import Session

if TYPE_CHECKING:
    from omninode.storage.database import Database
    from omninode.storage.index_advice import IndexAdvice

__all__ = ["IndexChange", "build_advised", "create_missing", "find_missing"]

# What rows are looked up by, wherever a table has it.
_LOOKUPS = ("run_id",)
_NAME_LIMIT = 63


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexChange:
    """An index that was missing; `created` is False after a dry run, or when it was built and proved useless.

    `undo` takes it away again.
    """

    schema: str
    table: str
    columns: tuple[str, ...]
    name: str
    reason: str
    created: bool = False

    @property
    def statement(self) -> str:
        """What creates it. CONCURRENTLY: writers go on meanwhile; of a partitioned table, child by child."""
        return f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {quoted(self.name)} ON {self.place} ({self.listed})"

    @property
    def undo(self) -> str:
        """What removes it, from a table that is not partitioned."""
        return f"DROP INDEX CONCURRENTLY IF EXISTS {quoted(self.schema)}.{quoted(self.name)}"

    @property
    def place(self) -> str:
        """The table, in a statement."""
        return f"{quoted(self.schema)}.{quoted(self.table)}"

    @property
    def listed(self) -> str:
        """The columns, in a statement."""
        return ", ".join(quoted(column) for column in self.columns)


async def find_missing(session: Session) -> tuple[IndexChange, ...]:
    """The indexes this database lacks for a plain reason, each once, with the reason."""
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


async def build_advised(database: Database, advice: Iterable[IndexAdvice]) -> tuple[IndexChange, ...]:
    """Build what is worth it of `advice`, and keep what the planner then uses for one of the statements."""
    connection = await connect(database.config, pool=replace(database.pool, statement_timeout_s=3600))
    try:
        session = Session(connection, database.queries)
        catalog = Catalog()
        built = []
        for entry in advice:
            if entry.is_worth_it:
                table = await catalog.table(session, entry.table)
                change = IndexChange(
                    schema=table.schema,
                    table=table.name,
                    columns=entry.columns,
                    name=_name(table.name, entry.columns),
                    reason=entry.reason,
                )
                built.append(await _kept_if_used(session, await _create(session, change), entry.texts))
        return tuple(built)
    finally:
        await connection.close(timeout=5)


async def _kept_if_used(session: Session, change: IndexChange, texts: Sequence[str]) -> IndexChange:
    with translated(f"index {change.name}"):
        await session.driver.execute(f"ANALYZE {change.place}")
    names = {row["name"] for row in await session.fetch("indexes.with_children", change.schema, change.name)}
    for text in texts:
        if (await plan_of(session, text)).uses(names):
            return change
    with translated(f"drop index {change.name}"):
        await session.driver.execute(f"DROP INDEX IF EXISTS {quoted(change.schema)}.{quoted(change.name)}")
    return replace(
        change, created=False, reason=f"{change.reason} was expected, but it was built and not used: dropped"
    )


async def _create(session: Session, change: IndexChange) -> IndexChange:
    with translated(f"index {change.name}"):
        # A build that was interrupted leaves an invalid index of the same name behind.
        if await session.fetchval("indexes.invalid", change.schema, change.name):
            await session.driver.execute(f"DROP INDEX IF EXISTS {quoted(change.schema)}.{quoted(change.name)}")
        children = [row["name"] for row in await session.fetch("indexes.children", change.place)]
        if await session.fetchval("indexes.is_partitioned", change.place):
            await _create_by_child(session, change, children)
        else:
            await session.driver.execute(change.statement)
    return replace(change, created=True)


async def _create_by_child(session: Session, change: IndexChange, children: Sequence[str]) -> None:
    """The index of the whole first, which is invalid until each child's, built beside writers, has been attached."""
    await session.driver.execute(
        f"CREATE INDEX IF NOT EXISTS {quoted(change.name)} ON ONLY {change.place} ({change.listed})"
    )
    whole = f"{quoted(change.schema)}.{quoted(change.name)}"
    for child in children:
        part = replace(change, table=child, name=_name(child, change.columns))
        if await session.fetchval("indexes.invalid", part.schema, part.name):
            await session.driver.execute(part.undo)
        await session.driver.execute(part.statement)
        await session.driver.execute(f"ALTER INDEX {whole} ATTACH PARTITION {quoted(part.schema)}.{quoted(part.name)}")


def _name(table: str, columns: tuple[str, ...]) -> str:
    name = f"omn_auto_{table}_{'_'.join(columns)}"
    if len(name.encode()) <= _NAME_LIMIT:
        return name
    # The limit is in bytes; a digest keeps two long names apart.
    return f"omn_auto_{hashlib.sha256(name.encode()).hexdigest()[:24]}"
