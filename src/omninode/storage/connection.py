"""One connection: what the driver is told when it makes one."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import asyncpg

from omninode.core.errors import ConfigurationError
from omninode.storage.codecs import prepare_codecs
from omninode.storage.config import ConnectionConfig, PoolConfig
from omninode.storage.failures import connecting

if TYPE_CHECKING:
    from omninode.storage.session import Row

__all__ = ["connect", "connect_arguments"]


def connect_arguments(config: ConnectionConfig, pool: PoolConfig, *, name: str = "omninode") -> dict[str, Any]:
    """What the driver needs to connect. Any: it is the driver's own list of keywords."""
    arguments: dict[str, Any] = {
        "host": config.host,
        "port": config.port,
        "user": config.user,
        "password": config.password,
        "database": config.database,
        "timeout": pool.connect_timeout_s,
        "command_timeout": pool.statement_timeout_s + 5.0,
        "statement_cache_size": 0 if pool.is_behind_pooler else 200,
    }
    if not config.is_socket:
        arguments["ssl"] = _trusting(config) if config.is_verifying else config.ssl_mode
    # These two a proxy keeps for its client, whichever connection it lends; all others it refuses.
    settings = {"application_name": name, "timezone": "UTC"}
    arguments["server_settings"] = settings if pool.is_behind_pooler else settings | pool.server_limits
    return arguments


def _trusting(config: ConnectionConfig) -> ssl.SSLContext:
    """What accepts a server with a certificate we trust, and for `verify-full` in the name of its host only."""
    try:
        context = ssl.create_default_context(cafile=config.ssl_root)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"the certificates in {config.ssl_root} cannot be read ({error}); set POSTGRES_SSLROOTCERT to a PEM file"
        ) from error
    context.check_hostname = config.ssl_mode == "verify-full"
    return context


async def connect(config: ConnectionConfig, *, pool: PoolConfig | None = None) -> asyncpg.Connection[Row]:
    """One connection of its own, outside the pool, for migrations and tools; the caller closes it."""
    with connecting(config):
        connection: asyncpg.Connection[Row] = await asyncpg.connect(**connect_arguments(config, pool or PoolConfig()))
        await prepare_codecs(connection)
    return connection
