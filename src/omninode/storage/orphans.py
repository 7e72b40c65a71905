"""What dead processes left on disk: directories of a spool whose lock is free."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from omninode.storage.lease import FileLock
from omninode.storage.segment import Record, SegmentLog

__all__ = ["LOCK", "OrphanSpool", "orphans", "remove_spool"]

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

    def take(self, *, rows: int, size: int) -> list[Record]:
        """The next rows to write."""
        return self._log.read(self.position + 1, rows=rows, size=size)

    def release(self, number: int) -> None:
        """Forget the rows up to `number`."""
        self.position = max(self.position, number)
        self._log.trim(self.position)

    def remove(self) -> None:
        """Remove the directory; all of it is in the database."""
        remove_spool(self._log, self._owner)

    def leave(self) -> None:
        """Give it up as it is; another may take it."""
        self._owner.release()


def orphans(root: Path, *, limit: int = 100) -> Iterator[OrphanSpool]:
    """The spools below `root` whose process is dead; each is ours until it is removed or left."""
    if not root.is_dir():
        return
    for directory in sorted(root.iterdir())[:limit]:
        if not directory.is_dir() or not _is_spool_name(directory.name):
            continue
        owner = FileLock(directory / LOCK)
        try:
            is_orphan = owner.try_acquire()
        except OSError:
            continue  # it has just been removed, or is another user's
        if is_orphan:
            yield OrphanSpool(directory, owner)


def _is_spool_name(name: str) -> bool:
    return len(name) == 32 and all(letter in "0123456789abcdef" for letter in name)


def remove_spool(log: SegmentLog, owner: FileLock) -> None:
    """Remove the directory of a spool, as its owner."""
    with suppress(OSError):
        log.remove()
    owner.release(remove=True)
    with suppress(OSError):
        log.directory.rmdir()
