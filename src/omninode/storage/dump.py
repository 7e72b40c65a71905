"""Backups: all of a database in one file, and a database from such a file.

The file is what `pg_dump` writes in its own format, so that every Postgres tool reads it. It appears under its name
only when it is complete, and a database is replaced only when the other one is: both are there or neither.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

from omninode.core.errors import ConfigurationError, DatabaseUnavailableError
from omninode.storage.catalog import quoted
from omninode.storage.config import ConnectionConfig, PoolConfig
from omninode.storage.connection import connect
from omninode.storage.database import Database
from omninode.storage.failures import translated
from omninode.storage.install import Install, find_install
from omninode.storage.migrate import migrate

if TYPE_CHECKING:
    from omninode.storage.session import Row

__all__ = ["load", "replace_database", "write_dump"]

# A database of any size: what ends a dump is its user, not a clock.
_LONGEST_S = 86_400.0


async def write_dump(config: ConnectionConfig, target: Path) -> int:
    """Write all of a database to the file `target`, replacing it; its size in bytes.

    Takes no locks that writers wait for. The file holds whatever the database holds and is for its owner alone.
    Raises ConfigurationError when the file cannot be written, DatabaseUnavailableError when the server does not answer.
    """
    return await asyncio.to_thread(_write, find_install(), config, target)


def _write(install: Install, config: ConnectionConfig, target: Path) -> int:
    partial = target.with_name(target.name + ".partial")
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
            install.run(
                "pg_dump",
                "--format=custom",
                *_address(config),
                timeout_s=_LONGEST_S,
                target=stream,
                environment=_secrets(config),
            )
            os.fsync(stream.fileno())
        partial.replace(target)
    except OSError as error:
        raise ConfigurationError(f"the backup {target} cannot be written: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)
    return target.stat().st_size


def load(install: Install, config: ConnectionConfig, source: Path) -> None:
    """Fill the empty database of `config` from a dump, all of it or nothing. Blocks."""
    try:
        with source.open("rb") as stream:
            install.run(
                "pg_restore",
                *("--exit-on-error", "--single-transaction", "--no-owner"),
                *_address(config),
                timeout_s=_LONGEST_S,
                source=stream,
                environment=_secrets(config),
            )
    except OSError as error:
        raise ConfigurationError(f"the backup {source} cannot be read: {error.strerror or error}") from error
    except DatabaseUnavailableError as error:
        raise ConfigurationError(f"the backup {source} could not be restored: {error.message}") from error


async def replace_database(config: ConnectionConfig, source: Path) -> None:
    """Replace the database of `config` by the one in the dump `source`, brought to the schema of this release.

    It is made beside the other and takes its name at the end, so that a failure changes nothing. The user must be
    allowed to make databases. Raises ConfigurationError when the dump cannot be restored or the database is in use,
    MigrationError when the dump is from a newer release.
    """
    made = replace(config, database=f"{config.database}_restored")
    connection = await connect(replace(config, database="postgres"), pool=PoolConfig(statement_timeout_s=600))
    try:
        with translated(f"restore {source.name}"):
            await connection.execute(f"DROP DATABASE IF EXISTS {quoted(made.database)}")
            await connection.execute(f"CREATE DATABASE {quoted(made.database)} TEMPLATE template0")
        try:
            await asyncio.to_thread(load, find_install(), made, source)
            async with Database.open(made, pool_size=1) as database:
                await migrate(database)
            await _swap(connection, config.database, made.database)
        finally:
            await connection.execute(f"DROP DATABASE IF EXISTS {quoted(made.database)}")
    finally:
        await connection.close(timeout=5)


async def _swap(connection: asyncpg.Connection[Row], current: str, other: str) -> None:
    """Give `current` the name `other`, and the other way round, at once."""
    between = f"{current}_replaced"
    with translated("restore"):
        try:
            async with connection.transaction():
                await connection.execute(f"ALTER DATABASE {quoted(current)} RENAME TO {quoted(between)}")
                await connection.execute(f"ALTER DATABASE {quoted(other)} RENAME TO {quoted(current)}")
                await connection.execute(f"ALTER DATABASE {quoted(between)} RENAME TO {quoted(other)}")
        except asyncpg.ObjectInUseError as error:
            raise ConfigurationError(
                f"the database {current!r} is in use; end what is connected to it first"
            ) from error


def _address(config: ConnectionConfig) -> tuple[str, ...]:
    return (
        "--no-password",
        f"--host={config.host}",
        f"--port={config.port}",
        f"--username={config.user}",
        f"--dbname={config.database}",
    )


def _secrets(config: ConnectionConfig) -> dict[str, str]:
    # Not an argument: every user of the machine may read those.
    mode = {} if config.is_socket else {"PGSSLMODE": config.ssl_mode}
    return mode | ({"PGPASSWORD": config.password} if config.password else {})
