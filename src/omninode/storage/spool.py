"""Rows that wait for the database: taken at once, kept in a file, written later.

`put` appends to a file and to memory and returns; it never waits for the database, and what it took survives a kill
of the process. Memory is bounded: beyond the bound, rows are only on disk and read back when their turn comes. Disk
is bounded: beyond that, new rows are dropped and counted. Each process has a directory of its own, locked while it
lives; `flusher.SpoolFlusher` writes the rows, its own and those of dead processes beside it, exactly once. So spools
are side by side only when their rows are for the same database.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import orjson

from omninode.core.errors import ConfigurationError, InvalidArgumentError
from omninode.storage.dead_letters import storable
from omninode.storage.lease import FileLock
from omninode.storage.orphans import LOCK, remove_spool
from omninode.storage.segment import Record, SegmentLog, label_of

__all__ = ["UNREADABLE", "Spool", "SpoolConfig", "SpoolStatistics"]

# Under this name `dropped` counts rows that were taken and could not be read back from the disk.
UNREADABLE = "(unreadable)"
_DISK_RETRY_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolConfig:
    """The bounds of one spool."""

    memory_rows: int = 20_000
    memory_bytes: int = 64 * 1024 * 1024
    disk_bytes: int = 1024 * 1024 * 1024
    segment_bytes: int = 16 * 1024 * 1024

    def __post_init__(self) -> None:
        if min(self.memory_rows, self.memory_bytes, self.disk_bytes, self.segment_bytes) < 0:
            raise ConfigurationError("every bound of the spool must be 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolStatistics:
    """One spool since it was made. `disk_error` is set while rows cannot be put on disk and only memory holds them."""

    accepted: int
    dropped: Mapping[str, int]
    waiting: int
    memory_rows: int
    memory_bytes: int
    disk_bytes: int
    disk_error: str | None


class Spool:
    """The rows of this process. Safe to use from any thread; nothing here waits for anything but the file system."""

    def __init__(self, directory: Path | str, *, config: SpoolConfig | None = None) -> None:
        self.root = Path(directory)
        self.spool_id = uuid4()
        self.position = 0
        self._config = config or SpoolConfig()
        self._log = SegmentLog(self.root / self.spool_id.hex, segment_bytes=self._config.segment_bytes)
        self._owner = FileLock(self._log.directory / LOCK)
        self._memory: deque[Record] = deque()
        self._memory_bytes = 0
        self._next = 1
        self._accepted = 0
        self._dropped: Counter[str] = Counter()
        self._disk_error: str | None = None
        self._disk_again_at = 0.0
        self._guard = threading.Lock()
        self._is_closed = False

    def put(self, table: str, row: Mapping[str, object], *, key: str | None = None) -> bool:
        """Take `row` at once; False when it had to be dropped, which is counted.

        With `key` (a column) the row replaces an earlier one of the same key. Values must be JSON; characters that
        Postgres cannot store become U+FFFD. Raises InvalidArgumentError for a row that is no JSON object.
        """
        label = label_of(table, key)
        if len(label.encode()) > 255:
            raise InvalidArgumentError(f"the table name {table[:40]!r}… is too long")
        data = _encoded(row, table)
        with self._guard:
            record = Record(self._next, label, data)
            is_kept = not self._is_closed and self._keep(record)
            if is_kept:
                self._next += 1
                self._accepted += 1
            else:
                self._dropped[table] += 1
        return is_kept

    @property
    def waiting(self) -> int:
        """Rows taken and not yet in the database."""
        return self._next - 1 - self.position

    def take(self, *, rows: int, size: int) -> list[Record]:
        """The next rows to write, without removing them; see `release`."""
        with self._guard:
            wanted = self.position + 1
            if self._memory and self._memory[0].number == wanted:
                return list(_within(self._memory, rows, size))
            return self._from_disk(wanted, rows, size) if wanted < self._next else []

    def release(self, number: int) -> None:
        """Forget the rows up to `number`: they are in the database."""
        with self._guard:
            self.position = max(self.position, number)
            while self._memory and self._memory[0].number <= self.position:
                self._memory_bytes -= self._memory.popleft().size
            with suppress(OSError):
                self._log.trim(self.position)

    def statistics(self) -> SpoolStatistics:
        """The spool now."""
        with self._guard:
            return SpoolStatistics(
                accepted=self._accepted,
                dropped=dict(self._dropped),
                waiting=self.waiting,
                memory_rows=len(self._memory),
                memory_bytes=self._memory_bytes,
                disk_bytes=self._log.size_bytes,
                disk_error=self._disk_error,
            )

    def close(self) -> None:
        """Take no more. What still waits stays on disk for the next process; an empty spool goes. Twice is harmless."""
        with self._guard:
            if self._is_closed:
                return
            self._is_closed = True
            self._log.close()
            if self._owner.is_held:
                if self.waiting == 0:
                    remove_spool(self._log, self._owner)
                else:
                    self._owner.release()

    def _from_disk(self, wanted: int, rows: int, size: int) -> list[Record]:
        """Rows read back. A stretch that cannot be read (a damaged or removed file) is dropped, and counted."""
        found = self._log.read(wanted, rows=rows, size=size)
        following = found[0].number if found else self._memory[0].number if self._memory else self._next
        if following > wanted:
            self._dropped[UNREADABLE] += following - wanted
            self.position = following - 1
        return _unbroken(found)

    def _keep(self, record: Record) -> bool:
        is_on_disk = self._to_disk(record)
        return self._to_memory(record) or is_on_disk

    def _to_disk(self, record: Record) -> bool:
        if self._log.size_bytes + record.size > self._config.disk_bytes:
            self._disk_error = f"the spool has reached {self._config.disk_bytes} bytes"
            return False
        if self._disk_error is not None and time.monotonic() < self._disk_again_at:
            return False
        try:
            if not self._owner.is_held:
                self._make_directory()
            self._log.append(record)
        except OSError as error:
            self._disk_error = f"{self._log.directory}: {error.strerror or error}"
            self._disk_again_at = time.monotonic() + _DISK_RETRY_S
            return False
        self._disk_error = None
        return True

    def _make_directory(self) -> None:
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._log.directory.mkdir(mode=0o700, exist_ok=True)
        if not self._owner.try_acquire():
            # Another process looked at the new directory in the instant before the lock, and will remove it.
            raise BlockingIOError(11, "the new spool directory is locked")

    def _to_memory(self, record: Record) -> bool:
        """Memory holds an unbroken stretch from the next row to write; a row that would break it is left to the disk."""
        last = self._memory[-1].number if self._memory else self.position
        is_full = (
            len(self._memory) >= self._config.memory_rows
            or self._memory_bytes + record.size > self._config.memory_bytes
        )
        if last + 1 != record.number or is_full:
            return False
        self._memory.append(record)
        self._memory_bytes += record.size
        return True


def _within(records: deque[Record], rows: int, size: int) -> Iterator[Record]:
    taken = 0
    for count, record in enumerate(records):
        taken += record.size
        if count and (count >= rows or taken > size):
            return
        yield record


def _unbroken(records: list[Record]) -> list[Record]:
    """The records up to the first gap in their numbers."""
    first = records[0].number if records else 0
    return [record for index, record in enumerate(records) if record.number == first + index]


def _encoded(row: Mapping[str, object], table: str) -> bytes:
    try:
        data = orjson.dumps(row)
        if b"\\u0000" not in data:
            return data
    except orjson.JSONEncodeError:
        pass  # a lone surrogate, perhaps; the second try says what else
    try:
        return orjson.dumps(storable(row))
    except orjson.JSONEncodeError as error:
        raise InvalidArgumentError(f"a row for {table!r} is not JSON: {error}") from error
