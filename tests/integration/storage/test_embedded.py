"""The embedded server when things break: killed servers, killed clients, stale files, several processes."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from omninode.core.concurrency import cancel_and_wait
from omninode.core.errors import ConfigurationError
from omninode.storage.config import ConnectionConfig
from omninode.storage.connection import connect
from omninode.storage.database import Database
from omninode.storage.embedded import EmbeddedPostgres
from omninode.storage.install import SYSTEM_ROOT, find_install

pytestmark = [pytest.mark.integration, pytest.mark.fault]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="omn-", dir="/tmp"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def data_dir(folder: Path) -> Path:
    """One cluster for the module (making it takes longest), stopped between tests."""
    return folder / "db"


async def pid_of(server: EmbeddedPostgres) -> int:
    pid = (await server.status()).pid
    assert pid is not None
    return pid


def is_alive(pid: int) -> bool:
    try:
        return b"postgres" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return False


async def gone(pid: int) -> None:
    async with asyncio.timeout(20):
        while is_alive(pid):
            await asyncio.sleep(0.01)


async def test_last_one_out_stops_the_server(data_dir: Path) -> None:
    first, second = EmbeddedPostgres(data_dir), EmbeddedPostgres(data_dir)
    assert await first.start() == await second.start()
    pid = await pid_of(first)
    assert (await first.status()).clients == 2
    await first.stop()
    await first.stop()
    assert is_alive(pid)
    await second.stop()
    await gone(pid)
    assert not (await second.status()).is_running


async def test_url_works_with_psql(data_dir: Path) -> None:
    async with EmbeddedPostgres(data_dir) as server:
        psql = find_install().bin / "psql"
        done = await asyncio.to_thread(
            subprocess.run, [psql, server.config.dsn, "-Atc", "SELECT 40 + 2"], capture_output=True, text=True
        )
    assert (done.returncode, done.stdout.strip()) == (0, "42"), done.stderr


async def test_killed_server_is_started_again_with_what_was_committed(data_dir: Path) -> None:
    async with EmbeddedPostgres(data_dir) as server:
        async with Database.open(server.config) as database, database.acquire() as session:
            await session.driver.execute("CREATE TABLE IF NOT EXISTS kept (n int); INSERT INTO kept VALUES (1)")
        victim = await pid_of(server)
        os.kill(victim, signal.SIGKILL)
        await server.start()
        assert await pid_of(server) != victim
        async with Database.open(server.config) as database, database.acquire() as session:
            assert await session.driver.fetchval("SELECT count(*) FROM kept") >= 1
        assert (await server.status()).clients == 1


async def test_open_pool_finds_the_restarted_server(data_dir: Path) -> None:
    async with EmbeddedPostgres(data_dir) as server, Database.open(server.config) as database:
        victim = await pid_of(server)
        os.kill(victim, signal.SIGKILL)
        await gone(victim)
        await server.start()
        assert await database.fetchval("storage.ping") == 1


@pytest.mark.parametrize("content", ["{pid}\n{pgdata}\n1\n5432\n\n\n\nready\n", "", "12"])
async def test_stale_or_half_written_pid_file_is_not_believed(data_dir: Path, content: str) -> None:
    server = EmbeddedPostgres(data_dir)
    await server.start()
    await server.stop()
    pgdata = server.data_dir / "pg18"
    # A live process of the server's own user that is not the server: the pid was used again.
    user = find_install().user
    other = subprocess.Popen(["sleep", "60"], user=None if user is None else user.pw_uid)
    try:
        (pgdata / "postmaster.pid").write_text(content.format(pid=other.pid, pgdata=pgdata))
        assert (await server.status()).pid is None
        await server.start()
        assert (await server.status()).is_running
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()
        await server.stop()


_CLIENT = """
import asyncio, sys
from omninode.storage.embedded import EmbeddedPostgres
async def main():
    server = EmbeddedPostgres(sys.argv[1])
    await server.start()
    print((await server.status()).pid, flush=True)
    if sys.argv[2] == "stay":
        await asyncio.sleep(60)
asyncio.run(main())
"""


def client(data_dir: Path, mode: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", _CLIENT, str(data_dir), mode], stdout=subprocess.PIPE, text=True)


async def test_process_that_exits_without_stopping_leaves_no_server(data_dir: Path) -> None:
    process = client(data_dir, "exit")
    output, _ = await asyncio.to_thread(process.communicate, timeout=30)
    await gone(int(output))


async def test_killed_client_does_not_keep_the_server_for_ever(data_dir: Path) -> None:
    with client(data_dir, "stay") as process:
        assert process.stdout is not None
        pid = int(await asyncio.to_thread(process.stdout.readline))
        process.kill()
    assert is_alive(pid)
    server = EmbeddedPostgres(data_dir)
    async with server:
        assert await pid_of(server) == pid
        assert (await server.status()).clients == 1
    await gone(pid)


async def test_processes_that_start_at_once_share_one_server(data_dir: Path) -> None:
    processes = [client(data_dir, "stay") for _ in range(3)]
    try:
        lines = [await asyncio.to_thread(process.stdout.readline) for process in processes if process.stdout]
        assert len({int(line) for line in lines}) == 1
        async with EmbeddedPostgres(data_dir) as server:
            assert (await server.status()).clients == 4
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    async with EmbeddedPostgres(data_dir) as server:
        pid = await pid_of(server)
    await gone(pid)


async def test_kept_server_outlives_its_starter_until_it_is_idle(data_dir: Path) -> None:
    server = EmbeddedPostgres(data_dir)
    await server.keep(idle_s=0.4)
    pid = await pid_of(server)
    await server.stop()
    connection = await connect(server.config)
    await asyncio.sleep(1.0)
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()
    await gone(pid)
    assert list((server.data_dir / "clients").iterdir()) == []


async def test_watched_server_comes_back_by_itself(data_dir: Path) -> None:
    async with EmbeddedPostgres(data_dir) as server:
        watching = asyncio.create_task(server.watch(every_s=0.02))
        victim = await pid_of(server)
        os.kill(victim, signal.SIGKILL)
        async with asyncio.timeout(20):
            while not (status := await server.status()).is_running or status.pid == victim:
                await asyncio.sleep(0.02)
        await cancel_and_wait([watching])


async def test_interrupted_initialisation_is_done_again(folder: Path) -> None:
    fresh = folder / "half"
    (fresh / "pg18.partial").mkdir(parents=True)
    (fresh / "pg18.partial" / "PG_VERSION").write_text("18\n")
    async with EmbeddedPostgres(fresh) as server:
        assert (await server.status()).version is not None


async def test_directory_that_cannot_be_written_is_one_clear_error(folder: Path) -> None:
    (folder / "file").write_text("in the way")
    with pytest.raises(ConfigurationError, match="OMNINODE_DATA_DIR") as caught:
        await EmbeddedPostgres(folder / "file" / "db").start()
    assert "\n" not in str(caught.value)


async def test_cluster_of_another_version_is_refused(folder: Path) -> None:
    other = folder / "other"
    (other / "pg18").mkdir(parents=True)
    (other / "pg18" / "PG_VERSION").write_text("15\n")
    with pytest.raises(ConfigurationError, match="made by PostgreSQL 15"):
        await EmbeddedPostgres(other).start()


async def test_long_or_odd_path_gets_a_short_socket(folder: Path) -> None:
    deep = folder / ("long and odd, " * 8) / "db"
    async with EmbeddedPostgres(deep) as server:
        socket_dir = Path(server.config.host)
        assert len(server.config.host) < 90
        assert ConnectionConfig.from_url(server.config.dsn) == server.config
        async with Database.open(server.config.dsn) as database:
            assert await database.fetchval("storage.ping") == 1
    shutil.rmtree(socket_dir)


async def test_socket_directory_admits_nobody_else(data_dir: Path) -> None:
    async with EmbeddedPostgres(data_dir) as server:
        assert Path(server.config.host).stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another user")
def test_root_below_a_closed_home_goes_to_var_lib(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    wanted = home / ".local" / "omninode"
    assert EmbeddedPostgres(wanted).data_dir.parent == SYSTEM_ROOT
    assert EmbeddedPostgres(wanted).data_dir == EmbeddedPostgres(wanted).data_dir
    assert home.stat().st_mode & 0o777 == 0o700


async def test_status_of_nothing_makes_nothing(tmp_path: Path) -> None:
    status = await EmbeddedPostgres(tmp_path / "db").status()
    assert (status.is_running, status.clients) == (False, 0)
    assert not (tmp_path / "db").exists()
