"""The database as the settings describe it: the embedded server, or any other by POSTGRES_HOST."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import Context
from pathlib import Path

from omninode.core.clock import Clock
from omninode.core.concurrency import cancel_and_wait
from omninode.core.deadline import Deadline
from omninode.core.errors import ConfigurationError, DatabaseUnavailableError, OmniNodeError
from omninode.core.events import EventSink
from omninode.core.loopback import is_loopback
from omninode.runtime.leases import RunLeases
from omninode.runtime.paths import data_directory
from omninode.runtime.settings import Settings, load_settings
from omninode.storage.config import ConnectionConfig, PoolConfig
from omninode.storage.database import Database
from omninode.storage.embedded import EmbeddedPostgres
from omninode.storage.flusher import SpoolFlusher
from omninode.storage.migrate import migrate
from omninode.storage.partitions import make_children
from omninode.storage.spool import Spool

__all__ = ["DatabaseLink", "keep_embedded", "opened_database", "reachable_url", "spool_directory", "stop_embedded"]

# What the example of the document sets.
_PUBLIC_PASSWORD = "password"  # noqa: S105 - it is refused
_FIRST_RETRY_S = 1.0
_LONGEST_RETRY_S = 30.0
# About what a command may keep its user waiting for; more rows than fit are written by the next ones.
_ADOPT_S = 5.0


class DatabaseLink:
    """The database of a runtime: there at once, there later, or not there, without anybody waiting for it.

    `connect` tries once. When the server cannot be reached and `keep_trying` was called, the link goes on trying in
    the background and calls `when_ready` as soon as the schema is in place. `trouble` says what is wrong meanwhile.
    """

    def __init__(self, settings: Settings, data_dir: Path, *, clock: Clock, sink: EventSink) -> None:
        self._clock = clock
        self._embedded = EmbeddedPostgres(data_dir / "postgres") if settings.postgres_host is None else None
        self._settings = settings
        self._data_dir = data_dir
        self._sink = sink
        self._retrying: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._made: Database | None = None
        self.is_ready = False
        self.trouble: str | None = None

    @property
    def database(self) -> Database:
        """The pool; statements raise DatabaseUnavailableError while the server is away."""
        if self._made is None:
            config = self._embedded.config if self._embedded is not None else external_config(self._settings)
            pool = PoolConfig(
                size=self._settings.connection_pool_size,
                is_behind_pooler=self._settings.postgres_pool_mode == "transaction" and self._embedded is None,
            )
            self._made = Database.open(config, pool=pool, clock=self._clock, sink=self._sink)
        return self._made

    @property
    def spool_directory(self) -> Path:
        """Where rows wait for this database, and for no other."""
        return spool_directory(self._settings, self._data_dir)

    @property
    def description(self) -> str:
        """Which database it is, without its password."""
        if self._embedded is not None:
            return f"embedded Postgres in {self._embedded.data_dir}"
        return external_config(self._settings).display

    async def connect(self, *, should_migrate: bool = True) -> None:
        """Start the embedded server if that is what is used, connect, bring the schema up.

        Raises DatabaseUnavailableError when the server cannot be reached, ConfigurationError or MigrationError when
        trying again will not help.
        """
        try:
            if self._embedded is not None:
                await self._embedded.start()
            await self.database.start()
            await self.database.ping()
            if should_migrate:
                await migrate(self.database, clock=self._clock)
                # Before the first row: one that finds no child for its day would have to move later.
                await make_children(self.database, self._clock.now())
        except DatabaseUnavailableError as error:
            self.trouble = error.message
            raise
        self.is_ready, self.trouble = True, None
        if self._embedded is not None and self._watching is None:
            # An embedded server that dies is started again while we are open.
            self._watching = asyncio.create_task(self._embedded.watch(clock=self._clock), context=Context())

    def keep_trying(self, when_ready: Callable[[], Awaitable[None]]) -> None:
        """Connect in the background, again and again, and await `when_ready` once it worked."""
        # In a context of its own: the deadline of the scope that opens us is not that of what outlives it.
        self._retrying = asyncio.create_task(self._keep_trying(when_ready), context=Context())

    async def _keep_trying(self, when_ready: Callable[[], Awaitable[None]]) -> None:
        pause_s = _FIRST_RETRY_S
        while not self.is_ready:
            await self._clock.sleep(pause_s * random.uniform(0.8, 1.2))  # noqa: S311 - spreads retries, no secret
            pause_s = min(_LONGEST_RETRY_S, pause_s * 2)
            try:
                await self.connect()
            except OmniNodeError as error:
                self.trouble = error.message
        await when_ready()

    async def close(self) -> None:
        """Stop trying, close the pool, leave the embedded server. Closing twice is harmless."""
        await cancel_and_wait([task for task in (self._retrying, self._watching) if task is not None])
        if self._made is not None:
            await self._made.close()
        if self._embedded is not None:
            await self._embedded.stop()


def spool_directory(settings: Settings, data_dir: Path) -> Path:
    """Where rows wait for the database of `settings`, and for no other.

    A server is told by what the settings say, because one that is away cannot be asked: under another name for the
    same host it is another.
    """
    place = "embedded" if settings.postgres_host is None else external_config(settings).fingerprint
    return data_dir / "spool" / place


def external_config(settings: Settings) -> ConnectionConfig:
    """The connection that the POSTGRES_ variables describe.

    Raises ConfigurationError for a password that everybody knows on a server that others can reach.
    """
    password = settings.postgres_password
    host = settings.postgres_host or "localhost"
    if password and password.get_secret_value() == _PUBLIC_PASSWORD and not (host[0] == "/" or is_loopback(host)):
        raise ConfigurationError(
            f"the password for the database on {host} is the example of the documentation, which everybody knows; "
            f"give {settings.postgres_user!r} another one there and set POSTGRES_PASSWORD to it"
        )
    return ConnectionConfig(
        host=host,
        port=settings.postgres_port,
        user=settings.postgres_user,
        password=password.get_secret_value() if password else None,
        database=settings.postgres_db,
        ssl_mode=settings.postgres_sslmode,
        ssl_root=settings.postgres_sslrootcert,
    )


@asynccontextmanager
async def opened_database(*, should_migrate: bool = True) -> AsyncIterator[tuple[Database, str]]:
    """The connected database of this process's settings, with its description; for commands that need nothing else.

    With `should_migrate` the schema is brought up, and what processes before left on disk for this database is in it.
    """
    from omninode.core.clock import SystemClock
    from omninode.core.events import NullSink

    settings = load_settings()
    directory = data_directory(settings)
    link = DatabaseLink(settings, directory, clock=SystemClock(), sink=NullSink())
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(link.close)
        await link.connect(should_migrate=should_migrate)
        if should_migrate:
            # First what dead processes left: who asks for their runs must find them.
            flusher = SpoolFlusher(Spool(link.spool_directory, config=settings.spool.config()), link.database)
            await flusher.adopt(Deadline.after(_ADOPT_S))
            await RunLeases(directory / "running").mark_lost(link.database)
        yield link.database, link.description


async def reachable_url() -> str:
    """An address that psql and asyncpg take, of a database with its schema in place.

    The embedded server keeps running until nobody has been connected for ten minutes, or until `stop_embedded`.
    """
    settings = load_settings()
    async with opened_database():
        if settings.postgres_host is not None:
            return external_config(settings).dsn
        server = embedded_server(settings)
        await server.keep()
        await server.stop()
        return server.config.dsn


async def keep_embedded() -> str:
    """Start the embedded server and leave it running until `stop_embedded`; what is running, in words."""
    server = embedded_server(load_settings())
    await server.end_keeping()
    await server.keep(idle_s=math.inf)
    await server.stop()
    return f"embedded Postgres in {server.data_dir} is running"


async def stop_embedded() -> str:
    """Stop the embedded server unless processes use it; what became of it, in words."""
    server = embedded_server(load_settings())
    users = await server.end_keeping()
    if users:
        return f"in use by {users} more; the embedded Postgres in {server.data_dir} stops with the last of them"
    return f"embedded Postgres in {server.data_dir} is stopped"


def embedded_server(settings: Settings) -> EmbeddedPostgres:
    """The embedded server of these settings; raises ConfigurationError when they name another one."""
    if settings.postgres_host is not None:
        raise ConfigurationError(
            f"POSTGRES_HOST names {settings.postgres_host}, so no embedded database is used; unset it to use that"
        )
    return EmbeddedPostgres(data_directory(settings) / "postgres")
