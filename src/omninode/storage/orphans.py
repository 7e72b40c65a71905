"""What dead processes left on disk: directories of a spool whose lock is free."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from omninode.storage.lease import FileLock
from omninode.storage.segment import Record, SegmentLog, unbroken

__all__ = ["EXPIRED", "LOCK", "UNREADABLE", "OrphanSpool", "expire_orphans", "orphans", "remove_spool"]

# Names under which rows are counted as dropped whose table nobody looks up: taken and not to be read back from the
# disk, and left unwritten for too long.
UNREADABLE = "(unreadable)"
EXPIRED = "(expired)"
# The file in each directory that its owner keeps locked.
LOCK = "lock"


class OrphanSpool:
    """What a dead process left: read and written like a `Spool`, then removed."""

    def __init__(self, directory: Path, owner: FileLock) -> None:
        self.spool_id = UUID(hex=directory.name)
        self._log = SegmentLog(directory)
        self._owner = owner
        self._log.measure()
        first = self._log.first_number()
        self.position = 0 if first is None else first - 1
        self.unreadable = 0

    def take(self, *, rows: int, size: int) -> list[Record]:
        """The next rows to write. A stretch that cannot be read is passed over, and counted."""
        found = self._log.read(self.position + 1, rows=rows, size=size)
        if found and found[0].number > self.position + 1:
            self.unreadable += found[0].number - self.position - 1
            self.position = found[0].number - 1
        return unbroken(found)

    def put_back(self) -> None:
        """What was taken has not been written; there is nothing to do, nothing else looks at the files."""

    def release(self, number: int) -> None:
        """Forget the rows up to `number`."""
        self.position = max(self.position, number)
        self._log.trim(self.position)

    def written_at(self) -> float:
        """When it was last written to, in seconds since 1970."""
        return self._log.written_at()

    @property
    def size_bytes(self) -> int:
        """Bytes on disk."""
        return self._log.size_bytes

    def count(self) -> int:
        """How many rows are left in it; reads all of it."""
        total = 0
        while found := self.take(rows=10_000, size=8 * 1024 * 1024):
            total += len(found)
            self.position = found[-1].number
        return total

    def remove(self) -> None:
        """Remove the directory; all of it is in the database, or given up."""
        remove_spool(self._log, self._owner)

    def leave(self) -> None:
        """Give it up as it is; another may take it."""
        self._owner.release()


def orphans(root: Path, *, limit: int = 100) -> Iterator[OrphanSpool]:
    """The spools below `root` whose process is dead, oldest first; each is ours until it is removed or left."""
    if not root.is_dir():
        return
    for directory in sorted(root.iterdir(), key=_changed_at)[:limit]:
        if not directory.is_dir() or not _is_spool_name(directory.name):
            continue
        owner = FileLock(directory / LOCK)
        try:
            is_orphan = owner.try_acquire()
        except OSError:
            continue  # it has just been removed, or is another user's
        if is_orphan:
            yield OrphanSpool(directory, owner)


def expire_orphans(root: Path, *, before: float, disk_bytes: int) -> int:
    """Give up what was last written to before that moment (seconds since 1970), and the oldest beyond `disk_bytes`.

    How many rows that came to. For a moment at which the database is known not to take them; blocks, reads files.
    """
    found = sorted(orphans(root, limit=10_000), key=OrphanSpool.written_at, reverse=True)
    dropped = size = 0
    for orphan in found:
        size += orphan.size_bytes
        if orphan.written_at() < before or size > disk_bytes:
            dropped += orphan.count()
            orphan.remove()
        else:
            orphan.leave()
    return dropped


def _changed_at(directory: Path) -> tuple[int, str]:
    """When a segment last came or went in it; beginning of time for what has just been removed."""
    try:
        return directory.stat().st_mtime_ns, directory.name
    except OSError:
        return 0, directory.name


def _is_spool_name(name: str) -> bool:
    return len(name) == 32 and all(letter in "0123456789abcdef" for letter in name)


def remove_spool(log: SegmentLog, owner: FileLock) -> None:
    """Remove the directory of a spool, as its owner."""
    with suppress(OSError):
        log.remove()
    owner.release(remove=True)
    with suppress(OSError):
        log.directory.rmdir()
