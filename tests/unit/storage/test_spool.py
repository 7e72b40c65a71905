"""The spool without a database: what it takes, keeps, gives back and drops."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from omninode.core.errors import InvalidArgumentError
from omninode.storage.orphans import UNREADABLE, orphans
from omninode.storage.segment import Record, SegmentLog
from omninode.storage.spool import Spool, SpoolConfig
from omninode.storage.track import Track

pytestmark = pytest.mark.unit

ALL = {"rows": 10**6, "size": 10**9}


def fill(spool: Spool, count: int, start: int = 0) -> None:
    for number in range(start, start + count):
        assert spool.put("t", {"n": number})


def track(spool: Spool) -> Track:
    [only] = spool.tracks()
    return only


def test_rows_come_back_in_order_and_stay_until_released(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    fill(spool, 5)
    assert [record.number for record in track(spool).take(rows=3, size=10**6)] == [1, 2, 3]
    assert [record.number for record in track(spool).take(rows=3, size=10**6)] == [1, 2, 3]
    track(spool).release(3)
    assert [record.data for record in track(spool).take(**ALL)] == [b'{"n":3}', b'{"n":4}']
    assert spool.waiting == 2


def test_rows_beyond_memory_are_read_back_from_disk_in_order(tmp_path: Path) -> None:
    spool = Spool(tmp_path, config=SpoolConfig(memory_rows=4, segment_bytes=100))
    fill(spool, 50)
    seen = []
    while batch := track(spool).take(rows=7, size=10**6):
        seen += [record.number for record in batch]
        track(spool).release(batch[-1].number)
        if seen[-1] == 11:
            fill(spool, 3, start=50)
    assert seen == list(range(1, 54))
    assert spool.statistics().memory_rows == 0


def test_memory_takes_over_again_after_the_disk_was_read(tmp_path: Path) -> None:
    spool = Spool(tmp_path, config=SpoolConfig(memory_rows=2))
    fill(spool, 5)
    track(spool).release(5)
    fill(spool, 1)
    assert spool.statistics().memory_rows == 1


def test_full_disk_and_full_memory_drop_and_count(tmp_path: Path) -> None:
    spool = Spool(tmp_path, config=SpoolConfig(memory_rows=3, disk_bytes=0))
    assert [spool.put("t", {"n": number}) for number in range(5)] == [True] * 3 + [False] * 2
    statistics = spool.statistics()
    assert (statistics.accepted, statistics.dropped, statistics.disk_bytes) == (3, {"t": 2}, 0)
    assert statistics.disk_error is not None


def test_unwritable_directory_leaves_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    spool = Spool(tmp_path / "file")
    fill(spool, 2)
    assert "file" in (spool.statistics().disk_error or "")
    assert len(track(spool).take(**ALL)) == 2


def test_segments_that_were_written_are_removed(tmp_path: Path) -> None:
    spool = Spool(tmp_path, config=SpoolConfig(segment_bytes=100))
    fill(spool, 50)
    assert len(list(tmp_path.rglob("*.seg"))) > 5
    track(spool).release(50)
    assert len(list(tmp_path.rglob("*.seg"))) <= 1


def test_closed_spool_takes_nothing_and_leaves_nothing_when_empty(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    fill(spool, 2)
    track(spool).release(2)
    spool.close()
    spool.close()
    assert list(tmp_path.iterdir()) == []
    assert not spool.put("t", {})


def test_live_spool_is_no_orphan_and_a_closed_one_is(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    fill(spool, 3)
    assert list(orphans(tmp_path)) == []
    spool.close()
    [orphan] = orphans(tmp_path)
    assert orphan.spool_id == track(spool).spool_id
    assert [record.number for record in orphan.take(**ALL)] == [1, 2, 3]
    assert list(orphans(tmp_path)) == []
    orphan.remove()
    assert list(tmp_path.iterdir()) == []


def test_what_dead_processes_left_comes_oldest_first(tmp_path: Path) -> None:
    for number in range(8):
        spool = Spool(tmp_path)
        fill(spool, number + 1)
        spool.close()
        os.utime(tmp_path / track(spool).spool_id.hex, (1_000 + number, 1_000 + number))
    assert [len(orphan.take(**ALL)) for orphan in orphans(tmp_path)] == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.fault
def test_torn_tail_ends_the_reading(tmp_path: Path) -> None:
    log = SegmentLog(tmp_path)
    for number in range(1, 4):
        log.append(Record.of(number, "t", b"{}"))
    log.close()
    [path] = tmp_path.glob("*.seg")
    os.truncate(path, path.stat().st_size - 1)
    assert [record.number for record in SegmentLog(tmp_path).read(1, **ALL)] == [1, 2]


@pytest.mark.fault
def test_damaged_record_ends_the_reading(tmp_path: Path) -> None:
    log = SegmentLog(tmp_path)
    for number in range(1, 4):
        log.append(Record.of(number, "table", b'{"value": 1}'))
    log.close()
    [path] = tmp_path.glob("*.seg")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert [record.number for record in SegmentLog(tmp_path).read(1, **ALL)] == [1]


@pytest.mark.fault
def test_rows_whose_file_was_damaged_are_counted_and_do_not_hold_up_the_rest(tmp_path: Path) -> None:
    spool = Spool(tmp_path, config=SpoolConfig(memory_rows=1, segment_bytes=60))
    fill(spool, 20)
    segments = sorted(tmp_path.rglob("*.seg"))
    segments[2].write_bytes(b"rubbish")
    lost = range(int(segments[2].stem), int(segments[3].stem))
    seen = []
    while spool.waiting:
        if batch := track(spool).take(**ALL):
            seen += [record.number for record in batch]
            track(spool).release(batch[-1].number)
    assert seen == [number for number in range(1, 21) if number not in lost]
    assert spool.statistics().dropped == {UNREADABLE: len(lost)}


def test_characters_postgres_cannot_store_are_replaced(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.put("t", {"a": "x\0y", "b": ["\ud800"], "c": r"\u0000"})
    [record] = track(spool).take(**ALL)
    assert record.data.decode() == '{"a":"x\ufffdy","b":["?"],"c":"\\\\u0000"}'


def test_row_that_is_not_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="not JSON"):
        Spool(tmp_path).put("t", {"a": object()})
