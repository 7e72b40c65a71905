"""Records on disk: a directory of append-only segments, numbered by their first record.

A record is length (4 bytes), crc32 (4 bytes), then the length of its label (1 byte), the label and JSON. Reading a
segment ends at the first record whose checksum is wrong: the torn tail of a process that was killed. A record that
was appended is in the kernel's hands and survives the process; surviving the machine takes `sync`.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Self

__all__ = ["Record", "SegmentLog", "label_of", "parse_label", "unbroken"]

_HEAD = struct.Struct(">II")
_SUFFIX = ".seg"
# Full segments that wait for their sync keep a file open each; beyond so many, appending waits for the disk.
_MOST_RETIRED = 256


class Record(NamedTuple):
    """One row on its way: its number in its spool (from 1), what it is for, its JSON, and its bytes on disk."""

    number: int
    label: str
    data: bytes
    size: int

    @classmethod
    def of(cls, number: int, label: str, data: bytes) -> Self:
        """A record, with the size that comes of it."""
        return cls(number, label, data, _HEAD.size + len(_mark(label)) + len(data))


@lru_cache(maxsize=1024)
def _mark(label: str) -> bytes:
    """A label as it stands before the row."""
    text = label.encode()
    return bytes((len(text),)) + text


def label_of(table: str, key: str | None) -> str:
    """How a record names its table and, for rows that replace earlier ones, their key."""
    return table if key is None else f"{table}?{key}"


def parse_label(label: str) -> tuple[str, str | None]:
    """The table and the key of a label."""
    table, separator, key = label.partition("?")
    return table, key if separator else None


def unbroken(records: Sequence[Record]) -> list[Record]:
    """The records up to the first gap in their numbers."""
    first = records[0].number if records else 0
    return [record for index, record in enumerate(records) if record.number == first + index]


class SegmentLog:
    """The segments of one spool. Not safe to use from two threads at once; every method may raise OSError."""

    def __init__(self, directory: Path, *, segment_bytes: int = 16 * 1024 * 1024) -> None:
        self.directory = directory
        self.size_bytes = 0
        self._segment_bytes = segment_bytes
        self._descriptor: int | None = None
        self._retired: list[int] = []
        self._is_unsynced = False
        self._is_entry_unsynced = False
        self._written = 0
        self._next = 0
        self._cursor: tuple[Path, int, int] | None = None

    def append(self, record: Record) -> None:
        """Add `record`; after an OSError it is not there, and the next one begins a segment of its own."""
        if self._descriptor is None or self._written >= self._segment_bytes or self._next != record.number:
            self._begin(record.number)
        assert self._descriptor is not None
        body = _mark(record.label) + record.data
        data = _HEAD.pack(len(body), zlib.crc32(body)) + body
        try:
            count = os.write(self._descriptor, data)
            if count != len(data):
                raise OSError(28, "the disk is full")  # noqa: TRY301 - a short write and a refused one end the same
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._written)
            self.end_segment()
            raise
        self._is_unsynced = True
        self._written += count
        self.size_bytes += count
        self._next = record.number + 1

    def end_segment(self) -> None:
        """Let the next `append` begin another segment; what is in this one is still to be synced."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        is_unsynced, self._is_unsynced = self._is_unsynced, False
        if is_unsynced and len(self._retired) < _MOST_RETIRED:
            self._retired.append(descriptor)
            return
        try:
            if is_unsynced:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Close every file; the next `append` begins another segment."""
        self.end_segment()
        for descriptor in self.take_unsynced()[0]:
            os.close(descriptor)

    def take_unsynced(self) -> tuple[list[int], list[Path]]:
        """The files and directories to sync for all that was appended to be safe. The files are the caller's to close."""
        files, self._retired = self._retired, []
        if self._descriptor is not None and self._is_unsynced:
            files.append(os.dup(self._descriptor))
            self._is_unsynced = False
        directories = [self.directory, self.directory.parent] if self._is_entry_unsynced else []
        self._is_entry_unsynced = False
        return files, directories

    def first_number(self) -> int | None:
        """The number of the oldest record, None when there is no segment."""
        segments = self._segments()
        return segments[0][0] if segments else None

    def read(self, number: int, *, rows: int, size: int) -> list[Record]:
        """Records from `number` on, in order: up to `rows` of them, up to `size` bytes (but at least one)."""
        found: list[Record] = []
        taken = 0
        for record in self._from(number):
            if found and (len(found) >= rows or taken + record.size > size):
                break
            found.append(record)
            taken += record.size
        return found

    def drop_oldest(self) -> int | None:
        """Remove the oldest segment, unless it is being written; the number of its last record, None when there is none."""
        segments = self._segments()
        if len(segments) < 2:
            return None
        self._remove(segments[0][1])
        return segments[1][0] - 1

    def written_at(self) -> float:
        """When the newest segment was last written to, in seconds since 1970; 0.0 when there is none."""
        return max((path.stat().st_mtime for _, path in self._segments()), default=0.0)

    def oldest(self) -> tuple[int, float] | None:
        """Of the oldest segment that is not being written: its last number, and when it was last written to."""
        segments = self._segments()
        if len(segments) < 2:
            return None
        with suppress(FileNotFoundError):
            return segments[1][0] - 1, segments[0][1].stat().st_mtime
        return None

    def trim(self, number: int) -> None:
        """Remove the segments that hold nothing above `number`."""
        segments = self._segments()
        ends = [first - 1 for first, _ in segments[1:]]
        for (_, path), last in zip(segments, ends, strict=False):
            if last <= number:
                self._remove(path)
        is_ended = self._descriptor is None or self._written >= self._segment_bytes
        if segments and is_ended and 0 < self._next <= number + 1:
            self.close()
            self._remove(segments[-1][1])

    def remove(self) -> None:
        """Remove all segments."""
        self.close()
        for _, path in self._segments():
            self._remove(path)

    def measure(self) -> None:
        """Take the size of what is there already (for a spool that another process left)."""
        self.size_bytes = sum(path.stat().st_size for _, path in self._segments())

    def _begin(self, number: int) -> None:
        self.end_segment()
        path = self.directory / f"{number:020d}{_SUFFIX}"
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._is_entry_unsynced = True
        self._written = 0

    def _segments(self) -> list[tuple[int, Path]]:
        if not self.directory.is_dir():
            return []
        names = (path for path in self.directory.iterdir() if path.suffix == _SUFFIX and path.stem.isdigit())
        return sorted((int(path.stem), path) for path in names)

    def _remove(self, path: Path) -> None:
        with suppress(FileNotFoundError):
            size = path.stat().st_size
            path.unlink()
            self.size_bytes = max(0, self.size_bytes - size)

    def _from(self, number: int) -> Iterator[Record]:
        """Records from `number` on; a later call that goes on where this one was left does not search again."""
        segments = self._segments()
        start, cursor = 0, self._cursor
        for index, (first, _) in enumerate(segments):
            if first <= number:
                start = index
        for first, path in segments[start:]:
            offset, at = 0, first
            if cursor is not None and cursor[0] == path and cursor[2] == number:
                offset, at = cursor[1], cursor[2]
            for record, end in _read_segment(path, offset, at):
                if record.number >= number:
                    yield record
                    self._cursor = (path, end, record.number + 1)


def _read_segment(path: Path, offset: int, number: int) -> Iterator[tuple[Record, int]]:
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        return
    with stream:
        stream.seek(offset)
        while True:
            head = stream.read(_HEAD.size)
            if len(head) < _HEAD.size:
                return
            length, checksum = _HEAD.unpack(head)
            # A torn head may ask for gigabytes; read() gives what there is, and the checksum decides.
            body = stream.read(length)
            if len(body) < length or not body or zlib.crc32(body) != checksum:
                return
            split = 1 + body[0]
            offset += _HEAD.size + length
            yield Record.of(number, body[1:split].decode(), body[split:]), offset
            number += 1
