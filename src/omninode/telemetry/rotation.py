"""Log files that never grow without end: one line per record, a few older files beside the current one."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from omninode.core.errors import ConfigurationError, InvalidArgumentError

__all__ = ["RotatingFile", "StreamStatistics"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamStatistics:
    """What became of one stream's records."""

    written: int
    lost: int
    rotations: int
    last_error: str | None


class RotatingFile:
    """Appends lines to `path`; at `max_bytes` it becomes `path.1`, which becomes `path.2`, and so on up to `backups`.

    A line that cannot be written (disk full) is counted as lost and never raises: logging must not end a run.
    Several processes may append to one file; each line is written in one piece.
    """

    def __init__(self, path: Path, *, max_bytes: int = 10_000_000, backups: int = 4) -> None:
        """Create the file and its folder; raises ConfigurationError when that is not possible."""
        if max_bytes < 1 or backups < 0:
            raise InvalidArgumentError(f"max_bytes is {max_bytes} and backups {backups}; pass at least 1 and 0")
        self.path = path
        self._max_bytes = max_bytes
        self._backups = backups
        self._lock = threading.Lock()
        self._written = self._lost = self._rotations = 0
        self._last_error: str | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO | None = self._opened()
        except OSError as error:
            raise ConfigurationError(f"cannot write logs to {path}: {error}; choose another log directory") from error

    def write(self, line: bytes) -> None:
        """Append `line` and a line feed."""
        with self._lock:
            try:
                if self._file is None:
                    self._lost += 1
                    return
                if self._file.tell() + len(line) >= self._max_bytes and self._file.tell() > 0:
                    self._rotate()
                self._file.write(line + b"\n")
                self._written += 1
            except OSError as error:
                self._lost += 1
                self._last_error = str(error)

    def close(self) -> None:
        """Close the file; later lines count as lost. Doing it twice is harmless."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def statistics(self) -> StreamStatistics:
        """Counts since the file was opened."""
        return StreamStatistics(
            written=self._written, lost=self._lost, rotations=self._rotations, last_error=self._last_error
        )

    def _opened(self) -> BinaryIO:
        # Unbuffered, in append mode: a line is one write, and is there when the process dies.
        return self.path.open("ab", buffering=0)

    def _rotate(self) -> None:
        if self._file is not None:
            self._file.close()
        for number in range(self._backups, 0, -1):
            source = self._numbered(number - 1)
            if source.exists():
                source.replace(self._numbered(number))
        if self._backups == 0:
            self.path.unlink(missing_ok=True)
        self._file = self._opened()
        self._rotations += 1

    def _numbered(self, number: int) -> Path:
        return self.path if number == 0 else self.path.with_name(f"{self.path.name}.{number}")
