"""Ledger rows: whoever waits is told when its row is safe, with others, and never when it is not."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from omninode.core.deadline import Deadline
from omninode.core.errors import DeadlineExceededError, SpoolError
from omninode.storage.group_sync import GroupSync
from omninode.storage.policies import SpoolConfig
from omninode.storage.segment import SegmentLog
from omninode.storage.spool import Spool

pytestmark = pytest.mark.unit


class Disk:
    """Syncs when it is let, in the spool's thread; counts, and fails on request."""

    def __init__(self) -> None:
        self.may_sync = threading.Event()
        self.began = threading.Event()
        self.synced: list[int] = []
        self.error: OSError | None = None

    def __call__(self, descriptor: int) -> None:
        self.began.set()
        self.may_sync.wait(10)
        if self.error is not None:
            raise self.error
        self.synced.append(os.fstat(descriptor).st_size)


# So long that only those who wait bring a sync about.
SLOW = SpoolConfig(sync_interval_s=3600)


def failing_disk() -> Disk:
    disk = Disk()
    disk.error = OSError(5, "Input/output error")
    disk.may_sync.set()
    return disk


async def failed_put(folder: Path) -> tuple[Disk, Spool]:
    """A spool that has been told a row, on a disk that failed to sync it."""
    disk = failing_disk()
    spool = Spool(folder, config=SLOW, sync=disk)
    with pytest.raises(SpoolError, match="Input/output error"):
        await spool.put_ledger("t", {"n": 1})
    return disk, spool


async def until(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, 10)


async def test_ledger_row_is_acknowledged_only_after_the_sync(tmp_path: Path) -> None:
    disk = Disk()
    spool = Spool(tmp_path, config=SLOW, sync=disk)
    waiting = asyncio.create_task(spool.put_ledger("t", {"n": 1}))
    await until(disk.began)
    assert not waiting.done()
    disk.may_sync.set()
    await waiting
    [track] = spool.tracks()
    assert disk.synced == [track.disk_bytes]


async def test_many_wait_for_one_sync(tmp_path: Path) -> None:
    disk = Disk()
    spool = Spool(tmp_path, config=SLOW, sync=disk)
    first = asyncio.create_task(spool.put_ledger("t", {"n": 0}))
    await until(disk.began)
    others = [asyncio.create_task(spool.put_ledger("t", {"n": number})) for number in range(1, 200)]
    await asyncio.sleep(0)
    disk.may_sync.set()
    for task in (first, *others):
        await task
    assert len(disk.synced) == 2


async def test_cancelled_waiter_concerns_no_other_and_its_row_stays(tmp_path: Path) -> None:
    disk = Disk()
    spool = Spool(tmp_path, config=SLOW, sync=disk)
    tasks = [asyncio.create_task(spool.put_ledger("t", {"n": number})) for number in range(3)]
    await until(disk.began)
    tasks[1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[1]
    disk.may_sync.set()
    await tasks[0]
    await tasks[2]
    assert spool.waiting == 3
    [track] = spool.tracks()
    assert track.safe._waiting == {}


@pytest.mark.fault
async def test_failed_sync_reaches_everyone_who_waits_and_the_rows_stay(tmp_path: Path) -> None:
    disk = failing_disk()
    spool = Spool(tmp_path, config=SLOW, sync=disk)
    results = await asyncio.gather(
        *(spool.put_ledger("t", {"n": number}) for number in range(5)), return_exceptions=True
    )
    assert all(isinstance(error, SpoolError) and error.is_kept for error in results)
    assert "Input/output error" in str(results[0])
    statistics = spool.statistics()
    assert (statistics.waiting, statistics.memory_rows) == (5, 5)
    assert statistics.sync_failures >= 1
    assert "Input/output error" in (statistics.disk_error or "")


@pytest.mark.fault
async def test_sync_that_fails_before_anybody_waits_acknowledges_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread may be quicker than who put the row: here it always is."""
    monkeypatch.setattr(GroupSync, "note", lambda self, target, hurry: self._round(target))
    await failed_put(tmp_path)


@pytest.mark.fault
async def test_round_without_anything_to_sync_does_not_end_the_trouble(tmp_path: Path) -> None:
    _, spool = await failed_put(tmp_path)
    [track] = spool.tracks()
    spool._sync._round(track)
    assert "Input/output error" in (spool.statistics().disk_error or "")


@pytest.mark.fault
async def test_row_after_a_failed_sync_goes_to_another_file(tmp_path: Path) -> None:
    disk, spool = await failed_put(tmp_path)
    disk.error = None
    await spool.put_ledger("t", {"n": 2})
    assert sorted(path.stem[-1] for path in tmp_path.rglob("*.seg")) == ["1", "2"]
    assert spool.statistics().disk_error is None


@pytest.mark.fault
async def test_disk_that_hangs_ends_the_wait_at_the_deadline(tmp_path: Path) -> None:
    disk = Disk()
    spool = Spool(tmp_path, config=SLOW, sync=disk)
    with pytest.raises(DeadlineExceededError, match="syncing a row of 't'"):
        await spool.put_ledger("t", {"n": 1}, deadline=Deadline.after(0.01))
    assert spool.waiting == 1
    disk.may_sync.set()


async def test_row_in_the_database_needs_no_sync(tmp_path: Path) -> None:
    disk = Disk()
    spool = Spool(tmp_path, config=SLOW, sync=disk)
    waiting = asyncio.create_task(spool.put_ledger("t", {"n": 1}))
    await until(disk.began)
    [track] = spool.tracks()
    track.release(1)
    await waiting
    disk.may_sync.set()


@pytest.mark.fault
async def test_row_that_the_disk_does_not_take_is_not_acknowledged(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    spool = Spool(tmp_path / "file", config=SLOW)
    with pytest.raises(SpoolError, match="only in memory") as caught:
        await spool.put_ledger("t", {"n": 1})
    assert caught.value.is_kept
    assert spool.waiting == 1


async def test_telemetry_is_synced_without_anybody_waiting(tmp_path: Path) -> None:
    disk = Disk()
    spool = Spool(tmp_path, config=SpoolConfig(sync_interval_s=0.001), sync=disk)
    spool.put("t", {"n": 1})
    await until(disk.began)
    disk.may_sync.set()


async def test_row_of_a_ledger_table_is_synced_at_once_though_nobody_waits(tmp_path: Path) -> None:
    disk = Disk()
    spool = Spool(tmp_path, config=SLOW, sync=disk)
    spool.put("runs", {"id": 1}, key="id")
    await until(disk.began)
    disk.may_sync.set()


async def test_flood_of_telemetry_is_not_part_of_what_the_ledger_waits_for(tmp_path: Path) -> None:
    disk = Disk()
    disk.may_sync.set()
    spool = Spool(tmp_path, config=SLOW, sync=disk)
    for number in range(1000):
        spool.put("t", {"n": number})
    await spool.put_ledger("t", {"n": 0})
    ledger = spool.tracks()[1]
    assert disk.synced[-1] == ledger.disk_bytes < spool.tracks()[0].disk_bytes


async def test_all_segments_of_a_row_s_past_are_synced_before_it_is_acknowledged(tmp_path: Path) -> None:
    disk = Disk()
    disk.may_sync.set()
    spool = Spool(tmp_path, config=SpoolConfig(sync_interval_s=3600, segment_bytes=100), sync=disk)
    await asyncio.gather(*(spool.put_ledger("t", {"n": number}) for number in range(50)))
    sizes = sorted(path.stat().st_size for path in tmp_path.rglob("*.seg"))
    assert set(sizes) <= set(disk.synced)
    assert sum(len(SegmentLog(path.parent).read(1, rows=100, size=10**6)) for path in tmp_path.rglob("lock")) == 50


def test_closing_syncs_what_is_left(tmp_path: Path) -> None:
    disk = Disk()
    disk.may_sync.set()
    spool = Spool(tmp_path, config=SLOW, sync=disk)
    spool.put("t", {"n": 1})
    [track] = spool.tracks()
    spool.close()
    assert disk.synced == [track.disk_bytes]
