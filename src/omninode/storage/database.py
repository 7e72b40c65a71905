"""The one pool: connections with a deadline on every wait, and statements by name.

The lanes, with as many places as the pool has connections, stand in front of it, so that waiting is fair, has a
deadline and can be measured; behind them the driver's pool only ever has to connect, never to wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

import asyncpg

from omninode.core import current
from omninode.core.clock import Clock, SystemClock
from omninode.core.errors import DatabaseUnavailableError, DeadlineExceededError, DefectError
from omninode.core.events import EventSink, NullSink
from omninode.storage.capacity import pool_name
from omninode.storage.codecs import prepare_codecs
from omninode.storage.config import ConnectionConfig, PoolConfig
from omninode.storage.connection import connect_arguments
from omninode.storage.failures import connecting, translated
from omninode.storage.lanes import Lane, Lanes, LaneStatistics, quantile_ms
from omninode.storage.queries import Queries
from omninode.storage.reconnect import Reconnect
from omninode.storage.session import Session
from omninode.storage.statements import StatementClock, StatementTimes

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    from omninode.storage.session import Row

__all__ = ["Database", "DatabaseStatistics"]

# What a driver raises when the connection under a call is gone, or does not answer in time.
_GONE = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseStatistics:
    """The pool now, and since it was opened. Waits are those of the last 1,000 acquisitions."""

    size: int
    open: int
    in_use: int
    waiting: int
    acquired: int
    timeouts: int
    discarded: int
    failed_connects: int
    wait_p50_ms: float
    wait_p99_ms: float
    oldest_use_s: float
    lanes: Mapping[Lane, LaneStatistics]


class Database:
    """One database through one pool; open it with `async with Database.open(config) as database`.

    Safe to use from any number of tasks of one event loop. Waiting for a connection ends in PoolExhaustedError after
    `acquire_timeout_s`, making one in DatabaseUnavailableError after `connect_timeout_s`, and both in
    DeadlineExceededError when the scope's deadline comes first. While the server is away one caller at a time tries
    to reach it; the others are refused with the time to wait. A server that cannot be reached is DatabaseUnavailableError, which is retryable; one that does
    not know the user, the password or the database is ConfigurationError.
    """

    def __init__(
        self,
        config: ConnectionConfig,
        *,
        pool: PoolConfig | None = None,
        clock: Clock | None = None,
        sink: EventSink | None = None,
    ) -> None:
        self.config = config
        self.pool = pool or PoolConfig()
        self.queries = Queries()
        self._clock = clock or SystemClock()
        self._sink = sink or NullSink()
        self._name = pool_name(self.pool.size)
        self._driver_pool: asyncpg.Pool[Row] | None = None
        self._times = StatementClock()
        self._lanes = Lanes(self.pool.size, clock=self._clock, sink=self._sink)
        self._idle_since: dict[int, float] = {}
        self._limits = self.pool.server_limits if self.pool.is_behind_pooler else None
        self._discarded = 0
        self._reconnect = Reconnect(clock=self._clock)

    @classmethod
    def open(
        cls,
        config: ConnectionConfig | str,
        *,
        pool_size: int = 10,
        pool: PoolConfig | None = None,
        clock: Clock | None = None,
        sink: EventSink | None = None,
    ) -> Database:
        """A database to enter with `async with`; `config` may be a URL, and `pool` overrides `pool_size`."""
        chosen = ConnectionConfig.from_url(config) if isinstance(config, str) else config
        return cls(chosen, pool=pool or PoolConfig(size=pool_size), clock=clock, sink=sink)

    async def __aenter__(self) -> Database:
        await self.start()
        try:
            await self.ping()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Make the pool without connecting; a server that is away is noticed by the first statement."""
        if self._driver_pool is None:
            self._driver_pool = await asyncpg.create_pool(
                min_size=0,
                max_size=self.pool.size,
                max_inactive_connection_lifetime=self.pool.idle_lifetime_s,
                connect=self._connect,
                init=prepare_codecs,
                reset=_leave_as_is if self.pool.is_behind_pooler else None,
                **connect_arguments(self.config, self.pool, name=self._name),
            )

    async def close(self, *, timeout_s: float = 5.0) -> None:
        """Wait up to `timeout_s` for connections in use, then close all. Closing twice is harmless."""
        pool, self._driver_pool = self._driver_pool, None
        if pool is None:
            return
        try:
            async with asyncio.timeout(timeout_s):
                await pool.close()
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            pool.terminate()

    @asynccontextmanager
    async def acquire(
        self, *, lane: Lane = Lane.QUERY, timeout_s: float | None = None, doing: str = "a statement"
    ) -> AsyncIterator[Session]:
        """A connection for the body; raises PoolExhaustedError when none of the lane comes free in time.

        `doing` names the holder in that error for others. Errors of the driver leave the body translated.
        """
        patience_s = self.pool.acquire_timeout_s if timeout_s is None else timeout_s
        async with self._lanes.place(lane, doing=doing, patience_s=patience_s):
            with translated(doing):
                proxy = await self._checkout(doing)
                try:
                    yield Session(proxy, self.queries, self._times, limits=self._limits)
                finally:
                    await self._give_back(proxy)

    @asynccontextmanager
    async def transaction(
        self, *, lane: Lane = Lane.QUERY, timeout_s: float | None = None, doing: str = "a transaction"
    ) -> AsyncIterator[Session]:
        """A connection inside a transaction: committed when the body ends, rolled back when it raises."""
        async with self.acquire(lane=lane, timeout_s=timeout_s, doing=doing) as session, session.transaction():
            yield session

    async def fetch(self, name: str, *args: object, lane: Lane = Lane.QUERY) -> list[Row]:
        """All rows of the statement `name` ('file.statement' in storage/queries)."""
        async with self.acquire(lane=lane, doing=name) as session:
            return await session.fetch(name, *args)

    async def fetchrow(self, name: str, *args: object, lane: Lane = Lane.QUERY) -> Row | None:
        """The first row of the statement, or None when there is none."""
        async with self.acquire(lane=lane, doing=name) as session:
            return await session.fetchrow(name, *args)

    # Any: the type of the first column of a statement known by name.
    async def fetchval(self, name: str, *args: object, lane: Lane = Lane.QUERY) -> Any:
        """The first column of the first row, or None when there is no row."""
        async with self.acquire(lane=lane, doing=name) as session:
            return await session.fetchval(name, *args)

    async def execute(self, name: str, *args: object, lane: Lane = Lane.QUERY) -> int:
        """Run the statement; how many rows it touched."""
        async with self.acquire(lane=lane, doing=name) as session:
            return await session.execute(name, *args)

    async def ping(self) -> float:
        """Milliseconds of one round trip, connection included when there is none yet; not behind queries (control)."""
        before = self._clock.monotonic()
        await self.fetchval("storage.ping", lane=Lane.CONTROL)
        return (self._clock.monotonic() - before) * 1000

    def statistics(self) -> DatabaseStatistics:
        """The pool now."""
        lanes = self._lanes.statistics()
        waits = self._lanes.waits()
        return DatabaseStatistics(
            size=self.pool.size,
            open=self._driver_pool.get_size() if self._driver_pool is not None else 0,
            in_use=self._lanes.in_use,
            waiting=self._lanes.waiting,
            acquired=sum(lane.acquired for lane in lanes.values()),
            timeouts=sum(lane.timeouts for lane in lanes.values()),
            discarded=self._discarded,
            failed_connects=self._reconnect.failed,
            wait_p50_ms=quantile_ms(waits, 0.50),
            wait_p99_ms=quantile_ms(waits, 0.99),
            oldest_use_s=self._lanes.oldest_use_s(),
            lanes=lanes,
        )

    @property
    def watched_hours(self) -> float:
        """For how many hours `statement_times` has been adding up."""
        return self._times.hours

    def statement_times(self) -> Mapping[str, StatementTimes]:
        """How often each named statement ran through this database, and for how long."""
        return self._times.times()

    # Any: the driver's own arguments, those of `connect_arguments` and some of its pool.
    async def _connect(self, *where: Any, **arguments: Any) -> asyncpg.Connection[Row]:
        async def connect() -> asyncpg.Connection[Row]:
            with connecting(self.config):
                connection: asyncpg.Connection[Row] = await asyncpg.connect(*where, **arguments)
            return connection

        return await self._reconnect.through(connect)

    async def _checkout(self, doing: str) -> PoolConnectionProxy[Row]:
        """A connection that answers, before `connect_timeout_s` and the scope's deadline are over."""
        pool = self._driver_pool
        if pool is None:
            raise DefectError(f"{doing}: the database is not open; use `async with Database.open(…)`")
        deadline = current.scope().deadline
        # The driver has its own limit for connecting, and tells better what it waited for; this one is for the rest.
        longest_s = self.pool.connect_timeout_s + 1.0
        allowed_s = longest_s if deadline is None else deadline.cap(longest_s)
        limit = asyncio.timeout(allowed_s)
        try:
            async with limit:
                return await self._answering(pool, doing)
        except TimeoutError as error:
            if not limit.expired() or isinstance(error, DeadlineExceededError):
                raise
            text = f"{doing}: no connection that answers within {allowed_s:.1f} s"
            if allowed_s < longest_s:
                raise DeadlineExceededError(f"{text}; allow a longer deadline") from error
            raise DatabaseUnavailableError(f"{text}; is the server overloaded?") from error

    async def _answering(self, pool: asyncpg.Pool[Row], doing: str) -> PoolConnectionProxy[Row]:
        """One that was idle for long is asked first, and replaced when it does not answer."""
        while True:
            with connecting(self.config, doing=doing):
                proxy = await pool.acquire()
            is_good = False
            try:
                is_good = not self._was_idle_for_long(proxy) or await self._answers(proxy)
            finally:
                # A cancelled question too leaves a connection that nobody may use: its answer is still to come.
                if not is_good:
                    self._discarded += 1
                    proxy.terminate()
                    await asyncio.shield(pool.release(proxy))
            if is_good:
                return proxy

    def _was_idle_for_long(self, proxy: PoolConnectionProxy[Row]) -> bool:
        idle_since = self._idle_since.pop(proxy.get_server_pid(), None)
        return idle_since is not None and self._clock.monotonic() - idle_since >= self.pool.idle_check_s

    async def _answers(self, proxy: PoolConnectionProxy[Row]) -> bool:
        try:
            # A quarter, so that some dead ones can be replaced within the time a new one may take.
            await proxy.fetchval(self.queries.text("storage.ping"), timeout=self.pool.connect_timeout_s / 4)
        except _GONE:
            return False
        return True

    async def _give_back(self, proxy: PoolConnectionProxy[Row]) -> None:
        pool = self._driver_pool
        if pool is None:
            proxy.terminate()
            return
        if len(self._idle_since) > 4 * self.pool.size:  # connections the driver closed by itself
            self._idle_since.clear()
        try:
            # The pool takes one that is lost away by itself; it answers nothing then.
            if not proxy.is_closed():
                self._idle_since[proxy.get_server_pid()] = self._clock.monotonic()
            await pool.release(proxy, timeout=self.pool.connect_timeout_s)
        except _GONE:
            # What the body did is done; that the connection broke while it was tidied up is not the body's failure.
            self._discarded += 1


async def _leave_as_is(_: asyncpg.Connection[Row]) -> None:
    """Send nothing when a connection is given back: behind a proxy there is no session to tidy up."""
