"""The rows of one spool directory: a log on disk, and in memory those that are next and those the disk will not take.

Records are numbered from 1 in the order in which they came. Memory holds the next ones to be written, so that usually
nothing is read back; when the disk refuses, it holds the backlog, which goes to the log, in order, once there is room.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections import Counter, deque
from contextlib import suppress
from itertools import accumulate, islice
from operator import attrgetter
from pathlib import Path
from uuid import uuid4

from omninode.core.errors import SpoolError
from omninode.storage.group_sync import Unsynced, Waiters
from omninode.storage.lease import FileLock
from omninode.storage.orphans import EXPIRED, LOCK, UNREADABLE, remove_spool
from omninode.storage.policies import SpoolConfig
from omninode.storage.segment import Record, SegmentLog, unbroken

__all__ = ["Track"]

_DISK_RETRY_S = 1.0
# How many rows of the backlog one new row takes along to the disk: quick enough, and no row pays for all of them.
_SPILL_ROWS = 64
_SIZE = attrgetter("size")


class Track:
    """One stretch of rows on their way. Methods are safe to call from any thread, but `add` wants `guard` to be held."""

    def __init__(self, root: Path, *, config: SpoolConfig, drops_oldest_of: str | None = None) -> None:
        """With `drops_oldest_of` the track holds rows of that table only, and the oldest make room for new ones."""
        self.spool_id = uuid4()
        self.position = 0
        self.guard = threading.Lock()
        self.accepted = 0
        self.dropped: Counter[str] = Counter()
        self.syncs = self.sync_failures = 0
        self.is_noted = False
        self.safe = Waiters()
        self.room = Waiters()
        self._config = config
        self._drops_oldest_of = drops_oldest_of
        # Dropping takes a segment at a time, so several of them have to fit.
        size = config.segment_bytes if drops_oldest_of is None else min(config.segment_bytes, config.disk_bytes // 8)
        self._log = SegmentLog(root / self.spool_id.hex, segment_bytes=size)
        self._owner = FileLock(self._log.directory / LOCK)
        self._memory: deque[Record] = deque()
        self.memory_bytes = 0
        self._next = 1
        self._backlog_from: int | None = None
        self._in_flight = 0
        self._write_error: str | None = None
        self._sync_error: str | None = None
        self._disk_again_at = 0.0
        self.is_closed = False

    @property
    def waiting(self) -> int:
        """Rows taken and neither in the database nor dropped."""
        return self._next - 1 - self.position

    @property
    def memory_rows(self) -> int:
        """Rows held in memory."""
        return len(self._memory)

    @property
    def only_in_memory(self) -> int:
        """Rows that would not survive the end of the process."""
        return 0 if self._backlog_from is None else self._next - self._backlog_from

    @property
    def disk_bytes(self) -> int:
        """Bytes on disk."""
        return self._log.size_bytes

    @property
    def disk_error(self) -> str | None:
        """Why rows are not safe on disk now; None when they are."""
        return self._write_error or self._sync_error

    def is_scarce(self) -> bool:
        """Whether three quarters of the disk's bound are used."""
        return self._log.size_bytes * 4 >= self._config.disk_bytes * 3

    def is_on_disk(self, number: int) -> bool:
        """Whether record `number` is in the log."""
        return self._backlog_from is None or number < self._backlog_from

    def add(self, label: str, data: bytes) -> int:
        """The number under which the row was taken, 0 when there is no room. The caller holds `guard`."""
        if self.is_closed:
            return 0
        record = Record.of(self._next, label, data)
        if self._backlog_from is not None:
            self._spill()
        if self._backlog_from is None and self._to_disk(record):
            self._remember(record)
        elif self._make_room(record.size):
            if self._backlog_from is None:
                self._backlog_from = record.number
            self._push(record)
        else:
            return 0
        self._next += 1
        self.accepted += 1
        return record.number

    def take(self, *, rows: int, size: int) -> list[Record]:
        """The next rows to write, without removing them. To be followed by `release` or `put_back`."""
        with self.guard:
            wanted = self.position + 1
            if self._memory and self._memory[0].number == wanted:
                found = _within(self._memory, rows, size)
            else:
                found = self._from_disk(wanted, rows, size) if wanted < self._next else []
            self._in_flight = found[-1].number if found else 0
            return found

    def put_back(self) -> None:
        """What was taken has not been written, and may be dropped again."""
        self._in_flight = 0

    def release(self, number: int) -> None:
        """Forget the rows up to `number`: they are in the database."""
        with self.guard:
            self._in_flight = 0
            self._forget(number)
            with suppress(OSError):
                self._log.trim(self.position)
        self.safe.settle(number)
        self.room.settle(0)

    def begin_sync(self) -> Unsynced:
        """What the disk has not been asked to keep yet."""
        with self.guard:
            self.is_noted = False
            files, directories = self._log.take_unsynced()
            number = self._next - 1 if self._backlog_from is None else self._backlog_from - 1
            return Unsynced(number=number, files=files, directories=directories)

    def end_sync(self, done: Unsynced, error: OSError | None) -> None:
        """Tell those who wait.

        After a failure no later sync of the same file proves anything (the kernel may have let the pages go), so
        the next row begins another.
        """
        failure = None
        with self.guard:
            self.syncs += 1
            if error is None and done.files:  # a round that found nothing to sync proves nothing
                self._sync_error = None
            if error is not None:
                self.sync_failures += 1
                self._sync_error = f"{self._log.directory}: sync: {error.strerror or error}"
                self._log.end_segment()
                failure = SpoolError(
                    f"{self._sync_error}; the row is not known to be on disk, and is written when the database takes it",
                    is_kept=True,
                )
        self.safe.settle(done.number, error=failure)

    def expire(self, before: float) -> None:
        """Drop what was last written to before that moment (seconds since 1970); counted."""
        with self.guard:
            while (oldest := self._log.oldest()) is not None and oldest[1] < before:
                if not self._drop_oldest(EXPIRED):
                    return

    def stop(self) -> None:
        """Take no more, and put on disk what only memory holds, as far as the disk takes it."""
        with self.guard:
            self.is_closed = True
            self._disk_again_at = 0.0
            while self._backlog_from is not None and self._spill():
                pass

    def close(self) -> None:
        """Close the files. What still waits stays on disk for the next process; an empty track goes."""
        with self.guard:
            self._log.close()
            if not self._owner.is_held:
                return
            if self.waiting == 0:
                remove_spool(self._log, self._owner)
            else:
                self._owner.release()

    def _forget(self, number: int) -> None:
        self.position = max(self.position, number)
        memory, position = self._memory, self.position
        while memory and memory[0].number <= position:
            self.memory_bytes -= memory.popleft().size
        if self._backlog_from is not None and self._backlog_from <= self.position:
            self._backlog_from = self.position + 1 if self.position + 1 < self._next else None

    def _from_disk(self, wanted: int, rows: int, size: int) -> list[Record]:
        """Rows read back. A stretch that cannot be read (a damaged or removed file) is dropped, and counted."""
        found = self._log.read(wanted, rows=rows, size=size)
        following = found[0].number if found else self._memory[0].number if self._memory else self._next
        if following > wanted:
            self.dropped[UNREADABLE] += following - wanted
            self.position = following - 1
        return unbroken(found)

    def _to_disk(self, record: Record) -> bool:
        while self._log.size_bytes + record.size > self._config.disk_bytes:
            if self._drops_oldest_of is None or not self._drop_oldest(self._drops_oldest_of):
                self._write_error = f"the spool has reached {self._config.disk_bytes} bytes"
                return False
        if self._write_error is not None and time.monotonic() < self._disk_again_at:
            return False
        try:
            if not self._owner.is_held:
                self._make_directory()
            self._log.append(record)
        except OSError as error:
            self._write_error = f"{self._log.directory}: {error.strerror or error}"
            self._disk_again_at = time.monotonic() + _DISK_RETRY_S
            with suppress(OSError):
                self._log.trim(self.position)  # the segment that has just ended may be in the database, all of it
            return False
        self._write_error = None
        return True

    def _make_directory(self) -> None:
        root = self._log.directory.parent
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._log.directory.mkdir(mode=0o700, exist_ok=True)
        if not self._owner.try_acquire():
            # Another process looked at the new directory in the instant before the lock, and will remove it.
            raise BlockingIOError(11, "the new spool directory is locked")

    def _drop_oldest(self, name: str) -> bool:
        """Make room; False when the oldest rows are being written, to the disk or to the database."""
        oldest = self._log.oldest()
        if oldest is None or self._in_flight > self.position:
            return False
        last = self._log.drop_oldest()
        if last is not None and last > self.position:
            self.dropped[name] += last - self.position
            self._forget(last)
        return last is not None

    def _spill(self) -> bool:
        """Write the beginning of the backlog to the disk; whether that went well."""
        for _ in range(_SPILL_ROWS):
            if self._backlog_from is None:
                break
            # The backlog is the end of memory; counted from there, as making room on disk may take its beginning.
            record = self._memory[self._backlog_from - self._next]
            if not self._to_disk(record):
                return False
            self._backlog_from = record.number + 1 if record.number + 1 < self._next else None
        return True

    def _remember(self, record: Record) -> None:
        """Keep a row that is on disk in memory too, when it follows what is there and there is room."""
        last = self._memory[-1].number if self._memory else self.position
        if last + 1 == record.number and self._has_room(record.size):
            self._push(record)

    def _push(self, record: Record) -> None:
        self._memory.append(record)
        self.memory_bytes += record.size

    def _has_room(self, size: int) -> bool:
        config = self._config
        return len(self._memory) < config.memory_rows and self.memory_bytes + size <= config.memory_bytes

    def _make_room(self, size: int) -> bool:
        """Room in memory for a row the disk will not take; rows that are on disk make way for it."""
        while not self._has_room(size):
            if not self._memory or not self.is_on_disk(self._memory[0].number):
                return False
            self.memory_bytes -= self._memory.popleft().size
        return True


def _within(records: deque[Record], rows: int, size: int) -> list[Record]:
    """The first records that follow each other without a gap, up to `rows` and `size`, but at least one."""
    found = list(islice(records, max(rows, 1)))
    if found[-1].number - found[0].number != len(found) - 1:
        found = unbroken(found)
    ends = list(accumulate(map(_SIZE, found)))
    return found if ends[-1] <= size else found[: max(1, bisect_right(ends, size))]
