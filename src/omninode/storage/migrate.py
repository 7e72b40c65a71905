"""Bringing a database to the schema of this release.

Numbered files in `migrations/`, applied in order, each in its own transaction unless its first line is
`-- no-transaction` (for CREATE INDEX CONCURRENTLY). What was applied is recorded with the file's SHA-256; a file that
changed after it was applied, or a database newer than this release, stops the start. One process at a time does it,
under an advisory lock on a connection of its own, and waits for another that does.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

import asyncpg

from omninode.core.clock import Clock, SystemClock
from omninode.core.deadline import Deadline
from omninode.core.errors import DefectError, MigrationError
from omninode.storage.config import PoolConfig
from omninode.storage.connection import connect
from omninode.storage.failures import translated
from omninode.storage.lanes import Lane
from omninode.storage.session import Session

if TYPE_CHECKING:
    from omninode.storage.database import Database

__all__ = ["Migration", "MigrationStatus", "migrate", "migration_status", "packaged_migrations"]

_FILE = re.compile(r"(?P<version>\d{4})_(?P<name>[a-z0-9_]+)\.sql")
_WAIT_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One numbered file."""

    version: int
    name: str
    text: str

    @property
    def sha256(self) -> str:
        """The digest that is recorded when it is applied."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def is_transactional(self) -> bool:
        """Whether it runs inside a transaction."""
        return not self.text.startswith("-- no-transaction")


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationStatus:
    """Which versions a database has, and which it still needs."""

    applied: tuple[int, ...]
    pending: tuple[int, ...]


def packaged_migrations() -> tuple[Migration, ...]:
    """The migrations of this release, in order; raises DefectError when a number is missing or doubled."""
    found = []
    for entry in (resources.files("omninode.storage") / "migrations").iterdir():
        match = _FILE.fullmatch(entry.name)
        if match:
            text = entry.read_text(encoding="utf-8")
            found.append(Migration(version=int(match["version"]), name=match["name"], text=text))
    found.sort(key=lambda migration: migration.version)
    if [migration.version for migration in found] != list(range(1, len(found) + 1)):
        raise DefectError(f"the migrations are not numbered 1..n: {[migration.version for migration in found]}")
    return tuple(found)


async def migrate(
    database: Database,
    *,
    migrations: Sequence[Migration] | None = None,
    timeout_s: float = 600.0,
    clock: Clock | None = None,
) -> tuple[int, ...]:
    """Apply what is missing; the versions applied now (none when the schema is up to date).

    Raises MigrationError for drift, for a schema newer than this release, for a file that fails (its transaction is
    rolled back, earlier ones stay) and when another process holds the lock for `timeout_s`; behind a proxy
    (`PoolConfig.is_behind_pooler`) for whatever is missing, because only the server itself can give the lock.
    """
    wanted = packaged_migrations() if migrations is None else tuple(migrations)
    if database.pool.is_behind_pooler:
        return await _nothing_to_do(database, wanted)
    connection = await connect(database.config, pool=PoolConfig(statement_timeout_s=timeout_s))
    try:
        session = Session(connection, database.queries)
        await _lock(session, Deadline.after(timeout_s, clock=clock), clock or SystemClock())
        try:
            await session.execute("storage.create_migrations_table")
            pending = _pending(wanted, await session.fetch("storage.applied_versions"))
            for migration in pending:
                await _apply(session, migration)
        finally:
            if not connection.is_closed():
                await session.execute("storage.release_migration_lock")
    finally:
        await connection.close(timeout=5)
    return tuple(migration.version for migration in pending)


async def _nothing_to_do(database: Database, wanted: Sequence[Migration]) -> tuple[int, ...]:
    # The lock belongs to a session, and a proxy that lends connections by the transaction has none to give.
    pending = _pending(wanted, await _applied(database))
    if pending:
        missing = ", ".join(f"{migration.version:04d}_{migration.name}" for migration in pending)
        raise MigrationError(
            f"the schema lacks {missing}, which cannot be applied through a proxy; run `omninode db migrate` once with "
            "POSTGRES_POOL_MODE=session and the host and port of the server itself"
        )
    return ()


async def migration_status(database: Database) -> MigrationStatus:
    """What `migrate` would do, without doing it; raises MigrationError where it would."""
    rows = await _applied(database)
    pending = _pending(packaged_migrations(), rows)
    return MigrationStatus(
        applied=tuple(row["version"] for row in rows), pending=tuple(migration.version for migration in pending)
    )


async def _applied(database: Database) -> list[asyncpg.Record]:
    async with database.acquire(lane=Lane.CONTROL, doing="migration status") as session:
        with translated("migration status"):
            exists = await session.fetchval("storage.has_migrations_table")
            return await session.fetch("storage.applied_versions") if exists else []


def _pending(wanted: Sequence[Migration], applied: Iterable[asyncpg.Record]) -> tuple[Migration, ...]:
    by_version = {migration.version: migration for migration in wanted}
    done = set()
    for row in applied:
        migration = by_version.get(row["version"])
        if migration is None:
            raise MigrationError(
                f"the database has schema version {row['version']} ({row['name']}), this release knows up to "
                f"{len(wanted)}; install the newer release, or use another database"
            )
        if migration.sha256 != row["sha256"]:
            raise MigrationError(
                f"migration {migration.version:04d}_{migration.name} was changed after it was applied to this "
                "database; restore the released file and put the change into a new number"
            )
        done.add(migration.version)
    return tuple(migration for migration in wanted if migration.version not in done)


async def _lock(session: Session, deadline: Deadline, clock: Clock) -> None:
    # Trying in turns, because a blocked pg_advisory_lock would hold back CREATE INDEX CONCURRENTLY of the holder.
    while not await session.fetchval("storage.try_migration_lock"):
        if deadline.has_passed:
            raise MigrationError(
                "another process has been migrating this database for too long; wait for it, or end it",
                retryable=True,
            )
        await clock.sleep(_WAIT_S)


async def _apply(session: Session, migration: Migration) -> None:
    before = time.perf_counter()
    try:
        if migration.is_transactional:
            async with session.driver.transaction():
                await session.driver.execute(migration.text)
                await _record(session, migration, before)
        else:
            await session.driver.execute(migration.text)
            await _record(session, migration, before)
    except asyncpg.PostgresError as error:
        raise MigrationError(
            f"migration {migration.version:04d}_{migration.name} failed: {error}", sqlstate=error.sqlstate
        ) from error


async def _record(session: Session, migration: Migration, before: float) -> None:
    duration_ms = round((time.perf_counter() - before) * 1000)
    await session.execute("storage.record_migration", migration.version, migration.name, migration.sha256, duration_ms)
