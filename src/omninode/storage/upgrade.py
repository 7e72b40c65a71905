"""From a cluster of an earlier PostgreSQL to one of the version that this release brings, by dump and restore.

The old cluster is only read. Until the end a mark says that the new one is not to be trusted, so that an upgrade that
was interrupted is begun again; at the end the old one is kept under another name.

    pg16                the old cluster, and pg16.upgraded at the end
    pg18                the new one
    upgrading           the mark; the dump lies beside it
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from omninode.core.errors import ConfigurationError
from omninode.storage.catalog import quoted
from omninode.storage.cluster import Cluster
from omninode.storage.config import ConnectionConfig
from omninode.storage.connection import connect
from omninode.storage.dump import load, write_dump
from omninode.storage.embedded import EmbeddedPostgres, ensure_database
from omninode.storage.install import find_install

__all__ = ["Upgrade", "upgrade"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgrade:
    """What an upgrade did: both majors, the rows that were carried over, and where the old cluster is kept."""

    before: int
    after: int
    rows: int
    kept: Path


async def upgrade(server: EmbeddedPostgres) -> Upgrade | None:
    """Carry the data of an earlier PostgreSQL over; None when there is none to carry.

    Needs the disk space of a dump and of the new cluster. Raises ConfigurationError when the programs of the earlier
    version are not installed, when processes use the database, or when there is data in both clusters.
    """
    return await asyncio.to_thread(_upgraded, server)


def _upgraded(server: EmbeddedPostgres) -> Upgrade | None:
    with server.alone() as new:
        older = new.older()
        mark, dump = new.data_dir / "upgrading", new.data_dir / "upgrade.dump"
        if older is None:
            mark.unlink(missing_ok=True)
            return None
        old = Cluster(new.data_dir, find_install(int(older.name[2:])))
        if new.pgdata.exists() and not mark.exists():
            raise ConfigurationError(
                f"there is data in {old.pgdata} and in {new.pgdata}; move the one you do not want to another directory"
            )
        _write_mark(mark)
        try:
            rows = _dumped(old, server.config, dump)
            shutil.rmtree(new.pgdata, ignore_errors=True)
            _restored(new, server.config, dump, expected=rows)
        finally:
            dump.unlink(missing_ok=True)
        kept = old.pgdata.with_suffix(".upgraded")
        old.pgdata.rename(kept)
        mark.unlink()
        return Upgrade(before=old.install.major, after=new.install.major, rows=sum(rows.values()), kept=kept)


def _write_mark(mark: Path) -> None:
    with mark.open("w", encoding="ascii") as stream:
        stream.write("The cluster of the newer version is not complete.\n")
        os.fsync(stream.fileno())


def _dumped(old: Cluster, config: ConnectionConfig, dump: Path) -> Mapping[str, int]:
    """Dump the old cluster's database; the rows of each table in it."""
    old.launch()
    try:
        asyncio.run(write_dump(config, dump))
        return asyncio.run(_rows(config))
    finally:
        old.shut_down()


def _restored(new: Cluster, config: ConnectionConfig, dump: Path, *, expected: Mapping[str, int]) -> None:
    new.initialise(has_older=True)
    new.launch()
    try:
        asyncio.run(ensure_database(config))
        load(new.install, config, dump)
        found = asyncio.run(_rows(config))
    finally:
        new.shut_down()
    if found != expected:
        odd = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        raise ConfigurationError(f"the upgrade lost rows of {', '.join(odd)}; the data before it is untouched")


async def _rows(config: ConnectionConfig) -> dict[str, int]:
    """The number of rows of every table of the user's."""
    connection = await connect(config)
    try:
        tables = await connection.fetch(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
        names = [f"{quoted(row['schemaname'])}.{quoted(row['tablename'])}" for row in tables]
        return {name: await connection.fetchval(f"SELECT count(*) FROM ONLY {name}", timeout=3600) for name in names}  # noqa: S608 - names from the catalogue
    finally:
        await connection.close(timeout=5)
