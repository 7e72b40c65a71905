"""A directory as the context sources see it: which files there are, read once for all of them.

The workspace is only ever read. What the user's .gitignore files exclude is not seen, nor are secrets (.env, keys),
version control, dependency folders, binaries, links that leave the directory, or more than the limits allow; every
exclusion is counted, so that a cut list never passes for a whole one.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TypeVar

from omninode.context.exclusion import Exclusion
from omninode.context.offload import Halt, Offload
from omninode.core.clock import Clock, SystemClock
from omninode.core.deadline import Deadline
from omninode.core.errors import InvalidArgumentError, SourceError
from omninode.core.ids import stable_hash

__all__ = ["Limits", "Snapshot", "Workspace", "WorkspaceFile"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much of a directory is looked at.

    Shallow files come first. At `max_files` the walk stops; a file that does not fit into what is left of `max_bytes`
    is left out; one larger than `max_file_bytes` is listed but not read. `max_age_s` is how long one walk serves before the directory is looked at again.
    """

    max_files: int = 20_000
    max_bytes: int = 64_000_000
    max_file_bytes: int = 512_000
    max_depth: int = 40
    max_age_s: float = 2.0

    def __post_init__(self) -> None:
        for name in ("max_files", "max_bytes", "max_file_bytes", "max_depth"):
            if getattr(self, name) < 1:
                raise InvalidArgumentError(f"{name} is {getattr(self, name)}; pass 1 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceFile:
    """A file by its path relative to the workspace, with `/`."""

    path: str
    size_bytes: int
    modified_ns: int

    @property
    def name(self) -> str:
        """The last part of the path."""
        return PurePosixPath(self.path).name

    @property
    def suffix(self) -> str:
        """The suffix in lower case with its dot; empty when there is none."""
        return PurePosixPath(self.path).suffix.lower()

    @property
    def depth(self) -> int:
        """How many directories lie above it."""
        return self.path.count("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The files of one walk, shallow ones first, and what was left out.

    `state` is the same for two walks that saw the same files unchanged.
    """

    files: tuple[WorkspaceFile, ...]
    state: str
    excluded: Mapping[str, int] = field(default_factory=dict)
    is_cut: bool = False

    @property
    def size_bytes(self) -> int:
        """The size of all files."""
        return sum(file.size_bytes for file in self.files)


class Workspace:
    """One directory, walked at most once per `limits.max_age_s`, shared by the sources that read it.

    Safe to use from several tasks and threads at once.
    """

    def __init__(
        self,
        root: Path | str,
        *,
        limits: Limits | None = None,
        offload: Offload | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.root = Path(root).resolve()
        self.limits = limits or Limits()
        self._offload = offload or Offload()
        self.clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._latest: tuple[float, Snapshot] | None = None

    @classmethod
    def of(cls, place: Workspace | Path | str) -> Workspace:
        """`place` itself, or a workspace of its own for a path."""
        return place if isinstance(place, Workspace) else cls(place)

    async def run(self, function: Callable[[Halt], T], *, deadline: Deadline | None = None) -> T:
        """What `function` returns, run on the workspace's threads."""
        return await self._offload.run(function, deadline=deadline)

    def close(self) -> None:
        """Give the threads back; closing twice is harmless."""
        self._offload.close()

    def snapshot(self, halt: Halt | None = None) -> Snapshot:
        """The files there are. Blocks: call it on a thread, through `run`.

        Raises SourceError when the directory is not there or cannot be read.
        """
        halting = halt or Halt()
        allowed = halting.remaining()
        if not self._lock.acquire(timeout=-1 if allowed is None else allowed):
            halting.check(f"waiting for the walk of {str(self.root)!r}")
        try:
            return self._snapshot(halting)
        finally:
            self._lock.release()

    def _snapshot(self, halt: Halt) -> Snapshot:
        if self._latest is not None and self.clock.monotonic() - self._latest[0] <= self.limits.max_age_s:
            return self._latest[1]
        found = _Walk(self.root, self.limits, halt).snapshot()
        self._latest = (self.clock.monotonic(), found)
        return found

    def read(self, file: WorkspaceFile) -> str | None:
        """The text of `file`; None when it is binary, too large, gone or unreadable. Blocks."""
        if file.size_bytes > self.limits.max_file_bytes:
            return None
        try:
            data = (self.root / file.path).read_bytes()
        except OSError:
            return None
        return _decoded(data[: self.limits.max_file_bytes])


def _decoded(data: bytes) -> str | None:
    """Text, or None for what looks binary: a NUL byte near the start, or too many bytes that are no UTF-8."""
    if b"\0" in data[:8192]:
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("utf-8", "replace")
        return text if text.count("\ufffd") <= len(text) // 20 else None


class _Walk:
    """One pass over the directory, level by level, so that limits cut the deep end."""

    def __init__(self, root: Path, limits: Limits, halt: Halt) -> None:
        self._root = root
        self._limits = limits
        self._halt = halt
        self._files: list[WorkspaceFile] = []
        self._bytes = 0
        self._excluded: Counter[str] = Counter()
        self._is_cut = False
        self._is_full = False

    def snapshot(self) -> Snapshot:
        level = [Exclusion.at_root(self._root)]
        if not self._root.is_dir():
            raise SourceError(
                f"workspace {str(self._root)!r} is not a directory; pass --workspace with one that exists"
            )
        for _ in range(self._limits.max_depth):
            level = [below for exclusion in level for below in self._directory(exclusion)]
            if not level or self._is_full:
                break
        else:
            self._is_cut = True
        parts = (f"{file.path}\0{file.size_bytes}\0{file.modified_ns}" for file in self._files)
        return Snapshot(
            files=tuple(self._files), state=stable_hash(*parts), excluded=dict(self._excluded), is_cut=self._is_cut
        )

    def _directory(self, exclusion: Exclusion) -> Iterator[Exclusion]:
        if self._is_full:
            return
        self._halt.check(f"walking {str(self._root)!r}")
        directory = self._root / exclusion.directory
        try:
            with os.scandir(directory) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            if exclusion.directory == "":
                raise SourceError(f"workspace {str(self._root)!r} cannot be read: {error.strerror}") from error
            self._excluded["unreadable"] += 1
            return
        for entry in entries:
            below = self._entry(entry, exclusion)
            if below is not None:
                yield below

    def _entry(self, entry: os.DirEntry[str], exclusion: Exclusion) -> Exclusion | None:
        """Take up one entry; for a directory that is to be walked, its exclusion."""
        try:
            if entry.is_symlink():
                # Its target is walked where it lies if it is inside, and is none of our business if not.
                self._excluded["link"] += 1
                return None
            is_directory = entry.is_dir(follow_symlinks=False)
            reason = exclusion.reason(entry.name, is_directory=is_directory)
            if reason is not None:
                self._excluded[reason] += 1
            elif is_directory:
                return exclusion.below(entry.name, self._root)
            elif entry.is_file(follow_symlinks=False):
                self._take(exclusion.path_of(entry.name), entry.stat(follow_symlinks=False))
        except OSError:
            self._excluded["unreadable"] += 1
        return None

    def _take(self, path: str, status: os.stat_result) -> None:
        is_readable = status.st_size <= self._limits.max_file_bytes
        size = status.st_size if is_readable else 0
        is_full = len(self._files) >= self._limits.max_files
        if is_full or self._bytes + size > self._limits.max_bytes:
            self._is_full, self._is_cut = is_full, True
            self._excluded["over_limit"] += 1
            return
        self._bytes += size
        self._files.append(WorkspaceFile(path=path, size_bytes=status.st_size, modified_ns=status.st_mtime_ns))
