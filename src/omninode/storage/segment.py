"""Records on disk: a directory of append-only segments, numbered by their first record.

A record is length (4 bytes), crc32 (4 bytes), then the length of its label (1 byte), the label and JSON. Reading a
segment ends at the first record whose checksum is wrong: the torn tail of a process that was killed. A record that
was appended is in the kernel's hands and survives the process; surviving the machine takes `sync`.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Record", "SegmentLog", "label_of", "parse_label"]

_HEAD = struct.Struct(">II")
_SUFFIX = ".seg"


@dataclass(frozen=True, slots=True)
class Record:
    """One row on its way: its number in its spool (from 1), what it is for, and its JSON."""

    number: int
    label: str
    data: bytes

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return _HEAD.size + 1 + len(self.label.encode()) + len(self.data)


def label_of(table: str, key: str | None) -> str:
    """How a record names its table and, for rows that replace earlier ones, their key."""
    return table if key is None else f"{table}?{key}"


def parse_label(label: str) -> tuple[str, str | None]:
    """The table and the key of a label."""
    table, separator, key = label.partition("?")
    return table, key if separator else None


class SegmentLog:
    """The segments of one spool. Not safe to use from two threads at once; every method may raise OSError."""

    def __init__(self, directory: Path, *, segment_bytes: int = 16 * 1024 * 1024) -> None:
        self.directory = directory
        self.size_bytes = 0
        self._segment_bytes = segment_bytes
        self._descriptor: int | None = None
        self._written = 0
        self._next = 0
        self._cursor: tuple[Path, int, int] | None = None

    def append(self, record: Record) -> None:
        """Add `record`; after an OSError it is not there, and the next one begins a segment of its own."""
        if self._descriptor is None or self._written >= self._segment_bytes or self._next != record.number:
            self._begin(record.number)
        assert self._descriptor is not None
        label = record.label.encode()
        body = bytes((len(label),)) + label + record.data
        data = _HEAD.pack(len(body), zlib.crc32(body)) + body
        try:
            count = os.write(self._descriptor, data)
            if count != len(data):
                raise OSError(28, "the disk is full")  # noqa: TRY301 - a short write and a refused one end the same
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._written)
            self.close()
            raise
        self._written += count
        self.size_bytes += count
        self._next = record.number + 1

    def close(self) -> None:
        """Close the segment being written; the next `append` begins another."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def sync(self) -> None:
        """Return when all that was appended is on the disk itself."""
        if self._descriptor is not None:
            os.fsync(self._descriptor)

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

    def trim(self, number: int) -> None:
        """Remove the segments that hold nothing above `number`."""
        segments = self._segments()
        ends = [first - 1 for first, _ in segments[1:]]
        for (_, path), last in zip(segments, ends, strict=False):
            if last <= number:
                self._remove(path)
        if segments and self._written >= self._segment_bytes and self._next - 1 <= number:
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
        self.close()
        path = self.directory / f"{number:020d}{_SUFFIX}"
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
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
            yield Record(number, body[1:split].decode(), body[split:]), offset
            number += 1
