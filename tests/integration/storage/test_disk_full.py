"""A real file system without room: nothing that was acknowledged is lost, nothing is written twice."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from omninode.core.deadline import Deadline
from omninode.core.errors import SpoolError
from omninode.core.ids import uuid7
from omninode.storage.database import Database
from omninode.storage.flusher import FlusherConfig, SpoolFlusher
from omninode.storage.spool import Spool, SpoolConfig

pytestmark = [pytest.mark.integration, pytest.mark.fault]

QUICK = FlusherConfig(interval_s=0.005, longest_wait_s=0.05)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(place)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture(autouse=True)
async def _empty(database: Database) -> AsyncIterator[None]:
    yield
    async with database.acquire() as session:
        await session.driver.execute("TRUNCATE performance_metrics, dead_letters, ingest_offset")


def metric(value: float) -> dict[str, object]:
    return {"id": str(uuid7()), "ts": "2026-01-01T00:00:00Z", "metric": "m", "value": value, "labels": {"a": "x" * 99}}


async def values(database: Database) -> list[float]:
    async with database.acquire() as session:
        return [row[0] for row in await session.driver.fetch("SELECT value FROM performance_metrics ORDER BY value")]


async def test_rows_go_on_from_memory_and_the_disk_is_used_again_when_there_is_room(
    database: Database, small_disk: Path
) -> None:
    spool = Spool(small_disk / "spool")
    for number in range(2000):
        assert spool.put("performance_metrics", metric(number))
    statistics = spool.statistics()
    assert 0 < statistics.only_in_memory < 2000
    assert "No space left" in (statistics.disk_error or "") or "full" in (statistics.disk_error or "")
    async with SpoolFlusher(spool, database, config=QUICK) as flusher:
        assert await flusher.flush(Deadline.after(30)) == 0
        [track] = spool.tracks()
        track._disk_again_at = 0
        for number in range(2000, 2010):
            assert spool.put("performance_metrics", metric(number))
        assert (spool.statistics().disk_error, spool.statistics().only_in_memory) == (None, 0)
        assert await flusher.flush(Deadline.after(30)) == 0
    assert await values(database) == list(range(2010))


async def test_ledger_rows_that_were_acknowledged_survive_and_the_others_were_refused(
    database: Database, small_disk: Path
) -> None:
    spool = Spool(small_disk / "spool")
    results = [await _kept(spool, number) for number in range(1500)]
    acknowledged = [number for number, error in enumerate(results) if error is None]
    assert acknowledged
    assert {error.is_kept for error in results if error is not None} == {True}
    # The process ends without a word: what its memory alone held is gone.
    [track] = spool.tracks()
    track._owner.release()
    async with SpoolFlusher(Spool(small_disk / "spool"), database, config=QUICK) as flusher:
        assert await flusher.adopt(Deadline.after(30)) == len(acknowledged)
    assert await values(database) == acknowledged
    assert flusher.statistics().unreadable == 0


async def _kept(spool: Spool, number: int) -> SpoolError | None:
    try:
        await spool.put_ledger("performance_metrics", metric(number))
    except SpoolError as error:
        return error
    return None


async def test_backlog_is_put_on_disk_in_order_when_somebody_makes_room(database: Database, small_disk: Path) -> None:
    filler = small_disk / "filler"
    filler.write_bytes(os.urandom(200 * 1024))
    spool = Spool(small_disk / "spool", config=SpoolConfig(segment_bytes=8 * 1024))
    for number in range(300):
        assert spool.put("performance_metrics", metric(number))
    assert spool.statistics().only_in_memory > 0
    filler.unlink()
    [track] = spool.tracks()
    track._disk_again_at = 0
    for number in range(300, 320):
        assert spool.put("performance_metrics", metric(number))
    assert spool.statistics().only_in_memory == 0
    track._owner.release()
    async with SpoolFlusher(Spool(small_disk / "spool"), database, config=QUICK) as flusher:
        assert await flusher.adopt(Deadline.after(30)) == 320
    assert await values(database) == list(range(320))
