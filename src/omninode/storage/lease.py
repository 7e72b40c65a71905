"""File locks between processes: who may start or stop a thing, and who still uses it.

`flock` belongs to an open file, so the kernel gives it up when the process dies, however it dies. A pid in a file
proves nothing, because pids are used again; here it is only for people to read.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from omninode.core.errors import DatabaseUnavailableError
from omninode.core.ids import uuid7

__all__ = ["FileLock", "Leases"]


class FileLock:
    """An exclusive lock on one file (mode 0600), held from `try_acquire` to `release` or to the end of the process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    @property
    def is_held(self) -> bool:
        """Whether this object holds the lock."""
        return self._descriptor is not None

    def try_acquire(self) -> bool:
        """Take the lock unless another holds it. The file is made when it is missing, and holds our pid."""
        if self._descriptor is not None:
            return True
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        if os.fstat(descriptor).st_nlink == 0:
            # Between open and lock another removed the file; a lock on a nameless file protects nothing.
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        with suppress(OSError):  # a full disk; the lock is ours without a name on it
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
        return True

    def acquire(self, *, timeout_s: float) -> None:
        """Wait for the lock in this thread; raises DatabaseUnavailableError after `timeout_s`."""
        end = time.monotonic() + timeout_s
        while not self.try_acquire():
            if time.monotonic() > end:
                raise DatabaseUnavailableError(
                    f"another process (pid {_pid_in(self.path)}) has held {self.path} for {timeout_s:.0f} s; end it"
                )
            time.sleep(0.02)  # noqa: TID251 - runs in a worker thread, never on the event loop

    def release(self, *, remove: bool = False) -> None:
        """Give the lock up; with `remove` the file goes too. Releasing twice is harmless."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        if remove:
            with suppress(FileNotFoundError):
                self.path.unlink()
        os.close(descriptor)

    @contextmanager
    def held(self, *, timeout_s: float) -> Iterator[None]:
        """Hold the lock for the body."""
        self.acquire(timeout_s=timeout_s)
        try:
            yield
        finally:
            self.release()


class Leases:
    """Who uses a thing: one locked file per user in a directory; a file nobody locks is of a dead process."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def take(self) -> FileLock:
        """A lease of our own, to be released with `remove=True`."""
        lease = FileLock(self.directory / f"{os.getpid()}-{uuid7().hex}")
        while not lease.try_acquire():  # a pruner may hold the newly made file for an instant
            time.sleep(0.001)  # noqa: TID251 - runs in a worker thread
        return lease

    def prune(self) -> int:
        """Remove the files of dead users; how many users are alive."""
        alive = 0
        for path in self.directory.iterdir():
            lock = FileLock(path)
            try:
                is_dead = lock.try_acquire()
            except FileNotFoundError:
                continue
            if is_dead:
                lock.release(remove=True)
            else:
                alive += 1
        return alive


def _pid_in(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(encoding="ascii", errors="replace").strip() or "unknown"
    return "unknown"
