"""What is done to a whole database, for the commands below `omninode db`: backup, restore, reset, upgrade."""

from __future__ import annotations

from pathlib import Path

from omninode.core.errors import ConfigurationError
from omninode.runtime.audit import record
from omninode.runtime.database import embedded_server, external_config
from omninode.runtime.settings import load_settings
from omninode.storage.dump import replace_database, write_dump
from omninode.storage.upgrade import upgrade

__all__ = ["back_up", "reset", "restore", "upgrade_embedded", "wanted_database"]


def wanted_database() -> str:
    """Which database the settings name, in words."""
    settings = load_settings()
    if settings.postgres_host is not None:
        return external_config(settings).display
    return f"embedded Postgres in {embedded_server(settings).data_dir}"


async def back_up(target: Path) -> str:
    """Write all of the database to `target`; what was done, in words."""
    settings = load_settings()
    if settings.postgres_host is not None:
        size = await write_dump(external_config(settings), target)
    else:
        async with embedded_server(settings) as server:
            size = await write_dump(server.config, target)
    return f"{target}: {size / 1e6:,.1f} MB; restore it with 'omninode db restore', or with pg_restore"


async def restore(source: Path) -> str:
    """Replace the database by the backup `source`; what was done, in words."""
    settings = load_settings()
    if settings.postgres_host is not None:
        config = external_config(settings)
        await replace_database(config, source)
        await _recorded("database.restored", config.display, source)
        return f"{config.display} is as it was in {source}"
    async with embedded_server(settings) as server:
        others = (await server.status()).clients - 1
        if others:
            raise ConfigurationError(f"the embedded database is in use by {others} other process(es); end them first")
        await replace_database(server.config, source)
        await _recorded("database.restored", f"embedded Postgres in {server.data_dir}", source)
        return f"embedded Postgres in {server.data_dir} is as it was in {source}"


async def reset() -> str:
    """Delete all data of the embedded server; what was done, in words."""
    server = embedded_server(load_settings())
    await server.end_keeping()
    # Before, because afterwards nobody could say that it happened; the first row of the empty log tells it.
    await record("database.reset", target=f"embedded Postgres in {server.data_dir}")
    return f"{await server.erase()} is deleted; the next start makes an empty database"


async def upgrade_embedded() -> str:
    """Carry the data of an earlier PostgreSQL over to the one of this release; what was done, in words."""
    done = await upgrade(embedded_server(load_settings()))
    if done is None:
        return "nothing to upgrade: there is no data of an earlier PostgreSQL"
    await record(
        "database.upgraded",
        target=f"embedded Postgres in {done.kept}",
        detail=[("before", str(done.before)), ("after", str(done.after)), ("rows", done.rows)],
    )
    return (
        f"PostgreSQL {done.before} to {done.after}: {done.rows:,} rows carried over and counted; "
        f"the data before it is kept in {done.kept} until you delete it"
    )


async def _recorded(action: str, target: str, source: Path) -> None:
    await record(action, target=target, detail=[("file", str(source))])
