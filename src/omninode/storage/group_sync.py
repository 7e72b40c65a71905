"""Putting appended rows on the disk itself, in a thread: once an interval, or at once for those who wait.

However many wait, they share one `fdatasync`; it takes milliseconds, and the event loop does not notice.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

__all__ = ["GroupSync", "Syncable", "Unsynced", "Waiters", "sync_file"]

# A disk that hangs must not hang the end of the process; what was appended is in the kernel's hands by then.
_LAST_SYNC_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsynced:
    """What has to be synced for the records up to `number` to be safe: open files (ours to close), directories."""

    number: int
    files: Sequence[int]
    directories: Sequence[Path]


class Syncable(Protocol):
    """Something that is appended to."""

    def begin_sync(self) -> Unsynced:
        """What has been appended since it was last asked."""
        ...

    def end_sync(self, done: Unsynced, error: OSError | None) -> None:
        """It is on the disk itself, or is not, and why."""
        ...


def sync_file(descriptor: int) -> None:
    """Return when the data of the open file is on the disk itself; may raise OSError."""
    if hasattr(fcntl, "F_FULLFSYNC"):  # macOS: fsync leaves the data in the drive's cache
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fdatasync(descriptor)


class GroupSync:
    """One thread, started when something is first appended; any thread may tell it."""

    def __init__(
        self,
        *,
        interval_s: float,
        sync: Callable[[int], None] = sync_file,
        after: Callable[[], None] = lambda: None,
    ) -> None:
        """`sync` is what is done with an open file, `after` is called after each round."""
        self._interval_s = interval_s
        self._sync = sync
        self._after = after
        self._work = threading.Event()
        self._hurry = threading.Event()
        self._guard = threading.Lock()
        self._noted: set[Syncable] = set()
        self._hurried: set[Syncable] = set()
        self._thread: threading.Thread | None = None
        self._is_closing = False

    def note(self, target: Syncable, *, hurry: bool = False) -> None:
        """`target` has been appended to: sync it within the interval, or at once."""
        with self._guard:
            (self._hurried if hurry else self._noted).add(target)
            if self._thread is None and not self._is_closing:
                self._thread = threading.Thread(target=self._run, name="omninode spool sync", daemon=True)
                self._thread.start()
        if hurry:
            self._hurry.set()
        self._work.set()

    def close(self) -> None:
        """Sync what was noted, then stop; waits for the thread, 5 s at most. Closing twice is harmless."""
        self._is_closing = True
        self._hurry.set()
        self._work.set()
        if self._thread is not None:
            self._thread.join(_LAST_SYNC_S)

    def _run(self) -> None:
        all_at = time.monotonic() + self._interval_s
        while True:
            self._work.wait()
            self._hurry.wait(max(0.0, all_at - time.monotonic()))
            # Cleared before looking: what is noted from here on is seen now, or brings the next round.
            self._work.clear()
            self._hurry.clear()
            with self._guard:
                due, self._hurried = self._hurried, set()
                if self._is_closing or time.monotonic() >= all_at:
                    due, self._noted = due | self._noted, set()
                    all_at = time.monotonic() + self._interval_s
                if self._noted:
                    self._work.set()
            for target in due:
                self._round(target)
            self._after()
            if self._is_closing and not self._noted and not self._hurried:
                return

    def _round(self, target: Syncable) -> None:
        pending = target.begin_sync()
        failure: OSError | None = None
        for descriptor in pending.files:
            try:
                self._sync(descriptor)
            except OSError as error:
                failure = failure or error
            finally:
                os.close(descriptor)
        for directory in pending.directories:
            try:
                _sync_directory(directory)
            except FileNotFoundError:
                pass  # everything in it was written and removed meanwhile
            except OSError as error:
                failure = failure or error
        target.end_sync(pending, failure)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Waiters:
    """Coroutines, of any event loop, that wait until a number has been reached; any thread may say that it has."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: dict[asyncio.Future[None], tuple[int, asyncio.AbstractEventLoop]] = {}

    def add(self, number: int = 0) -> asyncio.Future[None]:
        """A future that is done when `number` is reached. Cancelling it concerns no other."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self._guard:
            self._waiting[future] = (number, loop)
        future.add_done_callback(self._discard)
        return future

    def settle(self, number: int, *, error: Exception | None = None) -> None:
        """Everything up to `number` has been reached, or failed for `error`."""
        if not self._waiting:
            return
        due: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
        with self._guard:
            for future, (wanted, loop) in self._waiting.items():
                if wanted <= number:
                    due.setdefault(loop, []).append(future)
            for futures in due.values():
                for future in futures:
                    del self._waiting[future]
        for loop, futures in due.items():
            with suppress(RuntimeError):  # the loop has been closed, nobody waits any more
                loop.call_soon_threadsafe(_resolve, futures, error)

    def _discard(self, future: asyncio.Future[None]) -> None:
        with self._guard:
            self._waiting.pop(future, None)


def _resolve(futures: Sequence[asyncio.Future[None]], error: Exception | None) -> None:
    for future in futures:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
