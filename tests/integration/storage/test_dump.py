"""Backups, restores, resets and upgrades of real clusters, and what is left when one of them fails."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from omninode.core.errors import ConfigurationError, MigrationError
from omninode.storage.cluster import SUPERUSER, Cluster
from omninode.storage.database import Database
from omninode.storage.dump import replace_database, write_dump
from omninode.storage.embedded import EmbeddedPostgres, ensure_database
from omninode.storage.install import find_install
from omninode.storage.migrate import migrate
from omninode.storage.upgrade import upgrade

pytestmark = pytest.mark.integration

_NOTE = "INSERT INTO notes (id, text) SELECT n, 'note ' || n FROM generate_series(1, $1) n"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="omn-", dir="/tmp"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
async def server(folder: Path) -> AsyncIterator[EmbeddedPostgres]:
    """A server with a migrated database and five notes, made anew for each test."""
    async with EmbeddedPostgres(folder / "db") as server:
        async with Database.open(server.config) as database, database.acquire() as session:
            await migrate(database)
            await session.driver.execute("DROP TABLE IF EXISTS notes; CREATE TABLE notes (id integer, text text)")
            await session.driver.execute(_NOTE, 5)
        yield server


async def _sql(server: EmbeddedPostgres, text: str) -> object:
    async with Database.open(server.config, pool_size=1) as database, database.acquire() as session:
        return await session.driver.fetchval(text)


async def _databases(server: EmbeddedPostgres) -> object:
    return await _sql(
        server, "SELECT array_agg(datname::text ORDER BY datname) FROM pg_database WHERE NOT datistemplate"
    )


async def test_what_was_backed_up_comes_back(server: EmbeddedPostgres, tmp_path: Path) -> None:
    dump = tmp_path / "all.dump"
    assert await write_dump(server.config, dump) == dump.stat().st_size > 0
    assert dump.stat().st_mode & 0o077 == 0
    await _sql(server, "DELETE FROM notes")

    await replace_database(server.config, dump)

    assert await _sql(server, "SELECT count(*) FROM notes") == 5
    assert await _databases(server) == ["omninode", "postgres"]
    assert list(tmp_path.iterdir()) == [dump]


@pytest.mark.parametrize("content", [b"", b"not a dump at all", None], ids=["empty", "other", "cut short"])
async def test_a_file_that_is_no_whole_backup_changes_nothing(
    server: EmbeddedPostgres, tmp_path: Path, content: bytes | None
) -> None:
    dump = tmp_path / "broken.dump"
    await write_dump(server.config, dump)
    # Half of it: behind the data lies a second table of contents, which is not missed.
    whole = dump.read_bytes()
    dump.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(ConfigurationError, match=r"broken\.dump could not be restored") as caught:
        await replace_database(server.config, dump)
    assert "\n" not in caught.value.message
    assert await _sql(server, "SELECT count(*) FROM notes") == 5
    assert await _databases(server) == ["omninode", "postgres"]


async def test_a_backup_of_a_newer_release_is_refused(server: EmbeddedPostgres, tmp_path: Path) -> None:
    dump = tmp_path / "newer.dump"
    await _sql(server, "INSERT INTO schema_migrations (version, name, sha256, duration_ms) VALUES (9999, 'x', 'x', 1)")
    await write_dump(server.config, dump)
    await _sql(server, "DELETE FROM schema_migrations WHERE version = 9999")
    with pytest.raises(MigrationError):
        await replace_database(server.config, dump)
    assert await _databases(server) == ["omninode", "postgres"]


async def test_a_database_in_use_is_not_replaced(server: EmbeddedPostgres, tmp_path: Path) -> None:
    dump = tmp_path / "all.dump"
    await write_dump(server.config, dump)
    async with Database.open(server.config, pool_size=1):
        with pytest.raises(ConfigurationError, match="is in use; end what is connected"):
            await replace_database(server.config, dump)
    assert await _sql(server, "SELECT count(*) FROM notes") == 5


async def test_a_backup_that_cannot_be_written_leaves_nothing(server: EmbeddedPostgres, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere/all\.dump cannot be written"):
        await write_dump(server.config, tmp_path / "nowhere" / "all.dump")


async def test_data_is_erased_only_when_nobody_uses_it(folder: Path) -> None:
    place = folder / "erased"
    server = EmbeddedPostgres(place)
    async with server:
        await _sql(server, "CREATE TABLE kept (id integer)")
        with pytest.raises(ConfigurationError, match=r"in use by 1 other process"):
            await EmbeddedPostgres(place).erase()
    gone = await server.erase()
    assert not gone.exists()
    async with server:
        assert await _sql(server, "SELECT to_regclass('kept')") is None


@pytest.fixture
def cluster_of_16(folder: Path) -> Iterator[Path]:
    """A data directory as a release with PostgreSQL 16 would have left it."""
    place = folder / "sixteen"
    old = Cluster(place, find_install(16))
    old.make_directories()
    old._make_private(old.pgdata)
    old.install.run(
        "initdb", "-D", str(old.pgdata), "-U", SUPERUSER, "--auth=trust", "--encoding=UTF8", "--locale=C", timeout_s=120
    )
    with (old.pgdata / "postgresql.conf").open("a") as conf:
        conf.write("\ninclude_if_exists = 'omninode.conf'\n")
    yield place
    shutil.rmtree(place)


async def _fill(place: Path) -> None:
    old = Cluster(place, find_install(16))
    server = EmbeddedPostgres(place)
    await asyncio.to_thread(old.launch)
    try:
        await ensure_database(server.config)
        async with Database.open(server.config, pool_size=1) as database, database.acquire() as session:
            await migrate(database)
            await session.driver.execute("CREATE TABLE notes (id integer, text text)")
            await session.driver.execute(_NOTE, 1000)
    finally:
        await asyncio.to_thread(old.shut_down)


async def test_data_of_an_earlier_version_is_carried_over_when_asked(cluster_of_16: Path) -> None:
    await _fill(cluster_of_16)
    server = EmbeddedPostgres(cluster_of_16)
    with pytest.raises(ConfigurationError, match=r"run 'omninode db upgrade'"):
        await server.start()
    # An upgrade that was cut short: the mark, and a cluster that is not complete.
    (cluster_of_16 / "upgrading").touch()
    (cluster_of_16 / "pg18").mkdir()

    done = await upgrade(server)

    assert done is not None
    assert (done.before, done.after) == (16, 18)
    assert done.rows >= 1000
    assert done.kept.name == "pg16.upgraded"
    async with server:
        assert await _sql(server, "SELECT count(*) FROM notes") == 1000
        assert str(await _sql(server, "SHOW server_version")).startswith("18")
    assert await upgrade(server) is None
    assert {entry.name for entry in cluster_of_16.iterdir()} >= {"pg16.upgraded", "pg18"}
    assert not (cluster_of_16 / "upgrading").exists()


async def test_two_clusters_with_data_are_not_mixed(cluster_of_16: Path) -> None:
    (cluster_of_16 / "pg18").mkdir()
    with pytest.raises(ConfigurationError, match="there is data in"):
        await upgrade(EmbeddedPostgres(cluster_of_16))
