"""What a spool does when there is no room, by the table's policy; every row is delivered once or counted."""

from __future__ import annotations

import asyncio
import os
import resource
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from omninode.core.deadline import Deadline
from omninode.core.errors import ConfigurationError, SpoolError
from omninode.core.events import AlertChanged
from omninode.storage.orphans import EXPIRED, orphans
from omninode.storage.policies import Durability, SpoolConfig, TablePolicy, WhenFull
from omninode.storage.segment import SegmentLog
from omninode.storage.spool import Spool
from omninode.storage.track import Track
from omninode.testing.sink import RecordingSink

pytestmark = pytest.mark.unit

ALL = {"rows": 10**6, "size": 10**9}


def small(when_full: WhenFull, **more: object) -> SpoolConfig:
    """Room for a few rows of table `t`."""
    bounds = {"memory_rows": 3, "disk_bytes": 0, **more}
    return SpoolConfig(tables={"t": TablePolicy(when_full=when_full)}, **bounds)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The kernel itself cuts off, or refuses, what would make a file longer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def numbers(track: Track) -> list[int]:
    return [orjson.loads(record.data)["n"] for record in track.take(**ALL)]


async def test_put_never_waits_even_for_a_table_that_blocks(tmp_path: Path) -> None:
    spool = Spool(tmp_path, config=small(WhenFull.BLOCK))
    assert [spool.put("t", {"n": number}) for number in range(5)] == [True] * 3 + [False] * 2
    assert spool.statistics().dropped == {"t": 2}


async def test_blocked_row_goes_in_when_the_database_has_taken_others(tmp_path: Path) -> None:
    spool = Spool(tmp_path, config=small(WhenFull.BLOCK))
    for number in range(3):
        spool.put("t", {"n": number})
    [track] = spool.tracks()
    waiting = asyncio.create_task(spool.put_when_room("t", {"n": 3}))
    await asyncio.sleep(0)
    assert not waiting.done()
    track.take(**ALL)
    track.release(1)
    assert await waiting
    assert numbers(track) == [1, 2, 3]
    assert spool.statistics().dropped == {}


async def test_blocked_row_is_dropped_and_counted_at_the_deadline(tmp_path: Path) -> None:
    spool = Spool(tmp_path, config=small(WhenFull.BLOCK))
    for number in range(3):
        spool.put("t", {"n": number})
    assert not await spool.put_when_room("t", {"n": 3}, deadline=Deadline.after(0.001))
    assert spool.statistics().dropped == {"t": 1}


async def test_caller_that_gives_up_waiting_for_room_leaves_nothing_behind(tmp_path: Path) -> None:
    spool = Spool(tmp_path, config=small(WhenFull.BLOCK))
    for number in range(3):
        spool.put("t", {"n": number})
    [track] = spool.tracks()
    waiting = asyncio.create_task(spool.put_when_room("t", {"n": 3}))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    track.release(3)
    assert (spool.waiting, track.room._waiting) == (0, {})


async def test_ledger_row_without_room_is_refused_and_counted(tmp_path: Path) -> None:
    spool = Spool(tmp_path, config=small(WhenFull.DROP_NEW, memory_rows=0))
    with pytest.raises(SpoolError, match="no room") as caught:
        await spool.put_ledger("t", {"n": 1})
    assert not caught.value.is_kept
    assert spool.statistics().dropped == {"t": 1}


def test_oldest_rows_of_the_table_make_room_and_are_counted_exactly(tmp_path: Path) -> None:
    config = small(WhenFull.DROP_OLDEST, memory_rows=2, disk_bytes=800)
    spool = Spool(tmp_path, config=config)
    spool.put("other", {"n": 0})
    for number in range(200):
        assert spool.put("t", {"n": number})
    other, track = spool.tracks()
    left = []
    while found := numbers(track):
        left += found
        track.release(track._in_flight)
    assert left == list(range(200 - len(left), 200))
    assert len(left) > 20
    assert spool.statistics().dropped == {"t": 200 - len(left)}
    assert numbers(other) == [0]


def test_rows_that_are_being_written_are_not_dropped_for_others(tmp_path: Path) -> None:
    spool = Spool(tmp_path, config=small(WhenFull.DROP_OLDEST, disk_bytes=800))
    spool.put("t", {"n": 0})
    [track] = spool.tracks()
    track.take(**ALL)
    for number in range(1, 200):
        spool.put("t", {"n": number})
    track.release(1)
    statistics = spool.statistics()
    assert track.position == 1
    assert statistics.accepted + statistics.dropped["t"] == 200


def test_scarce_disk_takes_a_sample_and_a_full_one_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path, config=small(WhenFull.SAMPLE, memory_rows=0, disk_bytes=4000, segment_bytes=100))
    taken = [spool.put("t", {"n": f"{number:03}"}) for number in range(400)]
    size = 8 + 2 + len(b'{"n":"000"}')
    full, scarce = 4000 // size, -(-3000 // size)
    assert taken[:scarce] == [True] * scarce
    assert taken[scarce : scarce + 100] == ([True] + [False] * 9) * 10
    assert sum(taken) == min(full, scarce + (400 - scarce) // 10 + 1)
    assert spool.statistics().dropped == {"t": 400 - sum(taken)}


def test_ledger_may_not_drop_what_it_took() -> None:
    with pytest.raises(ConfigurationError, match="ledger keeps what it took"):
        TablePolicy(durability=Durability.LEDGER, when_full=WhenFull.SAMPLE)


async def test_ledger_row_of_a_sampled_table_is_not_thinned(tmp_path: Path) -> None:
    config = small(WhenFull.SAMPLE, disk_bytes=20, memory_rows=50)
    spool = Spool(tmp_path, config=config)
    spool.put("t", {"n": 0})
    assert [spool.put("t", {"n": number}) for number in range(1, 5)] == [True, False, False, False]
    await spool.put_ledger("t", {"n": 5})
    for number in range(6, 9):
        with pytest.raises(SpoolError, match="only in memory"):
            await spool.put_ledger("t", {"n": number})
    assert numbers(spool.tracks()[1]) == [5, 6, 7, 8]


@pytest.mark.fault
def test_write_cut_off_in_the_middle_of_a_record_spoils_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for number in range(5):
        spool.put("t", {"n": number})
    [track] = spool.tracks()
    with files_of_at_most(track.disk_bytes + 5):
        assert spool.put("t", {"n": 5})
        assert spool.put("t", {"n": 6})
    statistics = spool.statistics()
    assert (statistics.only_in_memory, statistics.waiting) == (2, 7)
    assert "full" in (statistics.disk_error or "")
    track._disk_again_at = 0
    spool.put("t", {"n": 7})
    assert spool.statistics().only_in_memory == 0
    assert spool.statistics().disk_error is None
    stored = SegmentLog(track._log.directory).read(1, **ALL)
    assert [orjson.loads(record.data)["n"] for record in stored] == list(range(8))


@pytest.mark.fault
def test_disk_that_refuses_raises_one_alarm_and_ends_it_when_it_takes_rows_again(tmp_path: Path) -> None:
    sink = RecordingSink()
    spool = Spool(tmp_path, sink=sink)
    with files_of_at_most(0):
        for number in range(3):
            spool.put("t", {"n": number})
    [track] = spool.tracks()
    track._disk_again_at = spool._calm_at = 0
    spool.put("t", {"n": 3})
    alerts = [event for event in sink.events if isinstance(event, AlertChanged)]
    assert [(alert.alert, alert.state) for alert in alerts] == [("spool_disk", "firing"), ("spool_disk", "resolved")]


@pytest.mark.fault
def test_what_only_memory_held_is_on_disk_after_closing(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    with files_of_at_most(0):
        for number in range(200):
            spool.put("t", {"n": number})
    spool.close()
    [orphan] = orphans(tmp_path)
    assert [orjson.loads(record.data)["n"] for record in orphan.take(**ALL)] == list(range(200))


def test_what_nobody_could_write_for_too_long_is_given_up_and_counted(tmp_path: Path) -> None:
    dead = Spool(tmp_path)
    for number in range(4):
        dead.put("t", {"n": number})
    dead.close()
    spool = Spool(tmp_path, config=SpoolConfig(segment_bytes=1, max_age_s=100))
    for number in range(3):
        spool.put("t", {"n": number})
    [track] = spool.tracks()
    for path in tmp_path.rglob("*.seg"):
        os.utime(path, (1000, 1000))
    spool.expire(now=1099)
    assert spool.statistics().dropped == {}
    spool.expire(now=1101)
    # The segment being written stays; the two before it and the dead process's four rows go.
    assert spool.statistics().dropped == {EXPIRED: 6}
    assert numbers(track) == [2]


class TrackMachine(RuleBasedStateMachine):
    """Rows come, the disk refuses and recovers, batches are written or fail: each row arrives once, or is counted."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.track = Track(
            Path(self.folder.name),
            config=SpoolConfig(memory_rows=6, memory_bytes=400, disk_bytes=900, segment_bytes=120),
            drops_oldest_of=self.table,
        )
        self.expected: deque[int] = deque()
        self.taken: list[int] = []
        self.next = 0
        self.dropped = 0

    table: str | None = None

    @rule(count=st.integers(1, 8), limit=st.none() | st.integers(0, 150))
    def put(self, count: int, limit: int | None) -> None:
        for _ in range(count):
            before = self.track.dropped.total()
            with files_of_at_most(resource.RLIM_INFINITY if limit is None else limit):
                self.track._disk_again_at = 0
                number = self.track.add("t", orjson.dumps({"n": self.next}))
            for _ in range(self.track.dropped.total() - before):
                self.expected.popleft()
            if number:
                self.expected.append(self.next)
            self.next += 1

    @rule(rows=st.integers(1, 9))
    def take(self, rows: int) -> None:
        self.track.put_back()
        records = self.track.take(rows=rows, size=10**6)
        self.taken = [record.number for record in records]
        values = [orjson.loads(record.data)["n"] for record in records]
        assert values == list(self.expected)[: len(values)]
        assert bool(values) == bool(self.expected)

    @precondition(lambda self: self.taken)
    @rule(share=st.floats(0.1, 1))
    def release(self, share: float) -> None:
        count = max(1, round(share * len(self.taken)))
        self.track.release(self.taken[count - 1])
        for _ in range(count):
            self.expected.popleft()
        self.taken = []

    @rule()
    def put_back(self) -> None:
        self.track.put_back()
        self.taken = []

    @invariant()
    def bounded_and_complete(self) -> None:
        assert self.track.waiting == len(self.expected)
        assert self.track.memory_rows <= 6
        assert self.track.disk_bytes <= 900
        assert 0 <= self.track.only_in_memory <= self.track.memory_rows

    def teardown(self) -> None:
        self.track.stop()
        self.track.close()
        self.folder.cleanup()


class DroppingTrackMachine(TrackMachine):
    """The same for a track whose oldest rows make room."""

    table = "t"


TestTrack = TrackMachine.TestCase
TestTrack.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestDroppingTrack = DroppingTrackMachine.TestCase
TestDroppingTrack.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.mark.fault
def test_backlog_goes_to_disk_in_order_although_the_oldest_rows_make_room_for_it(tmp_path: Path) -> None:
    config = SpoolConfig(memory_rows=6, memory_bytes=400, disk_bytes=900, segment_bytes=120)
    track = Track(tmp_path, config=config, drops_oldest_of="t")
    for number in range(48):
        assert track.add("t", orjson.dumps({"n": number}))
    with files_of_at_most(0):
        for number in range(48, 52):
            assert track.add("t", orjson.dumps({"n": number}))
    assert track.only_in_memory == 4
    track._disk_again_at = 0
    for number in range(52, 55):
        assert track.add("t", orjson.dumps({"n": number}))
    assert track.dropped["t"] > 0
    left = []
    while found := numbers(track):
        left += found
        track.release(track._in_flight)
    assert left == list(range(track.dropped["t"], 55))
    track.close()
