"""The four log streams: performance, error, audit and debug, as JSON lines.

Nothing is set up at import: `configure_logs` makes the streams and hands them back. Each record is redacted, gets the
fields every record has, and is written at once. Without a directory records go to standard error only, or nowhere.
"""

from __future__ import annotations

import itertools
import logging
import os
import socket
import sys
import threading
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TextIO, cast

import orjson

from omninode.core import current
from omninode.core.errors import InvalidArgumentError
from omninode.telemetry.redact import redact, redact_error, redact_text
from omninode.telemetry.rotation import RotatingFile, StreamStatistics

if TYPE_CHECKING:
    import structlog

__all__ = ["LEVELS", "STREAMS", "LogStatistics", "Logs", "StdlibBridge", "Stream", "configure_logs"]

Stream = Literal["performance", "error", "audit", "debug"]
Record = MutableMapping[str, Any]  # Any: fields as JSON can hold them

STREAMS: tuple[Stream, ...] = ("performance", "error", "audit", "debug")
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
SCHEMA = 1
_MAX_LINE = 64_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LogStatistics:
    """Counts per stream since the logs were configured."""

    streams: Mapping[str, StreamStatistics]

    @property
    def lost(self) -> int:
        """Records that could not be written."""
        return sum(stream.lost for stream in self.streams.values())


class Logs:
    """The open streams. `logger(stream)` is for code that writes records itself; safe from any thread."""

    def __init__(self, files: Mapping[Stream, RotatingFile], *, level: int, stderr: TextIO | None) -> None:
        self._files = dict(files)
        self._stderr = stderr
        self._numbers = itertools.count(1)
        self._origin = {"service": "omninode", "version": _version(), "host": socket.gethostname(), "pid": os.getpid()}
        self._loggers: dict[Stream, structlog.typing.FilteringBoundLogger] = {}
        self._bridges: list[tuple[logging.Logger, StdlibBridge]] = []
        self.level = level

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def logger(self, stream: Stream) -> structlog.typing.FilteringBoundLogger:
        """A structlog logger on one stream: `logger("error").error("cannot_rank", source="web")`."""
        if stream not in self._loggers:
            self._loggers[stream] = self._logger(stream, self.level)
        return self._loggers[stream]

    def audit(
        self,
        action: str,
        *,
        actor: str,
        target: str,
        **fields: Any,  # Any: fields as JSON can hold them
    ) -> None:
        """Record that `actor` did `action` on `target`; written whatever the level."""
        self._write("audit", {"event": action, "level": "info", "actor": actor, "target": target, **fields})

    def write(self, stream: Stream, record: Record) -> None:
        """Write one finished record, which has `event` and `level`, unless its level is too low. Never raises."""
        # The audit stream answers who did what; a level that hid parts of it would make it worthless.
        if stream == "audit" or LEVELS.get(str(record.get("level", "info")), 20) >= self.level:
            self._write(stream, record)

    def capture(self, name: str = "omninode", *, level: int = logging.WARNING) -> None:
        """Take the records of the standard library's logger `name` into the streams, until `close`."""
        bridge = StdlibBridge(self, level=level)
        logger = logging.getLogger(name)
        logger.addHandler(bridge)
        self._bridges.append((logger, bridge))

    def close(self) -> None:
        """Close the files; doing it twice is harmless."""
        for logger, bridge in self._bridges:
            logger.removeHandler(bridge)
        self._bridges.clear()
        for file in self._files.values():
            file.close()

    def statistics(self) -> LogStatistics:
        """How many records each stream has written and lost."""
        return LogStatistics(streams={stream: file.statistics() for stream, file in self._files.items()})

    def _logger(self, stream: Stream, level: int) -> structlog.typing.FilteringBoundLogger:
        import structlog  # here because it takes a fifth of a second, and events are written without it

        def take(_: object, __: str, record: Record) -> Record:
            self._write(stream, record)
            raise structlog.DropEvent

        return cast(
            "structlog.typing.FilteringBoundLogger",
            structlog.wrap_logger(
                None,
                processors=[structlog.processors.add_log_level, _with_scope, _with_error, take],
                wrapper_class=structlog.make_filtering_bound_logger(level),
                cache_logger_on_first_use=False,
            ),
        )

    def _write(self, stream: Stream, record: Record) -> None:
        line = _encoded(
            {"ts": _now(), "stream": stream, "schema": SCHEMA, "seq": next(self._numbers), **self._origin}
            | cast("dict[str, Any]", redact(dict(record)))
        )
        file = self._files.get(stream)
        if file is not None:
            file.write(line)
        if self._stderr is not None:
            try:
                self._stderr.write(line.decode() + "\n")
            except (OSError, ValueError):
                # The terminal is gone; the file, if there is one, has the record.
                self._stderr = None


class StdlibBridge(logging.Handler):
    """Takes records of the standard library's logging: errors to the error stream, everything else to debug."""

    def __init__(self, logs: Logs, *, level: int) -> None:
        super().__init__(level)
        self._logs = logs
        self._busy = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        """Write `record`; one that arises while another is being written is left out."""
        if getattr(self._busy, "now", False):
            return
        self._busy.now = True
        try:
            fields: dict[str, Any] = {"event": record.getMessage(), "level": _level_name(record.levelno)}
            fields |= {"logger": record.name, "place": f"{record.module}:{record.funcName}"}
            if record.exc_info and record.exc_info[1] is not None:
                fields["traceback"] = redact_error(record.exc_info[1])
            self._logs.write("error" if record.levelno >= logging.ERROR else "debug", fields)
        except Exception:  # noqa: BLE001 - border: user-supplied callback (a record's arguments format themselves)
            self.handleError(record)
        finally:
            self._busy.now = False


def configure_logs(
    directory: Path | None,
    *,
    level: str = "info",
    stderr: bool | TextIO = False,
    max_bytes: int = 10_000_000,
    backups: int = 4,
) -> Logs:
    """Open the four streams: `performance.jsonl`, `error.jsonl`, `audit.jsonl` and `debug.jsonl` in `directory`.

    Each file is at most `max_bytes` long, with `backups` older ones beside it. `level` is the lowest that is written
    (debug, info, warning, error, critical); the audit stream is written whatever it is. Raises ConfigurationError
    when the directory cannot be written, InvalidArgumentError for an unknown level.
    """
    if level.lower() not in LEVELS:
        raise InvalidArgumentError(f"log level {level!r} is none of {', '.join(LEVELS)}")
    files: dict[Stream, RotatingFile] = {}
    if directory is not None:
        files = {
            stream: RotatingFile(directory / f"{stream}.jsonl", max_bytes=max_bytes, backups=backups)
            for stream in STREAMS
        }
    shown = sys.stderr if stderr is True else None if stderr is False else stderr
    return Logs(files, level=LEVELS[level.lower()], stderr=shown)


def _with_scope(_: object, __: str, record: Record) -> Record:
    scope = current.scope()
    found = {"run_id": scope.run_id, "phase": scope.phase, "task_id": scope.task_id, "agent": scope.agent_id}
    for name, value in found.items():
        if value is not None:
            record.setdefault(name, str(value))
    return record


def _with_error(_: object, __: str, record: Record) -> Record:
    info = record.pop("exc_info", None)
    error = sys.exc_info()[1] if info is True else info[1] if isinstance(info, tuple) else info
    if isinstance(error, BaseException):
        record["error_class"] = type(error).__name__
        record["traceback"] = redact_error(error)
    return record


def _encoded(record: Mapping[str, Any]) -> bytes:  # Any: redacted, so JSON values
    try:
        line = orjson.dumps(record)
    except (orjson.JSONEncodeError, UnicodeEncodeError):
        # Lone surrogates and integers beyond 64 bits are the two things JSON text here cannot hold.
        line = orjson.dumps({str(key): _plain(value) for key, value in record.items()})
    if len(line) <= _MAX_LINE:
        return line
    kept = {key: value for key, value in record.items() if len(str(value)) <= 1_000}
    return orjson.dumps(
        {key: _plain(value) for key, value in kept.items()}
        | {"shortened": sorted(set(record) - set(kept)), "size_bytes": len(line)}
    )


def _plain(value: object) -> object:
    if value is None or isinstance(value, bool | float):
        return value
    return redact_text(str(value)).encode("utf-8", "replace").decode()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _level_name(number: int) -> str:
    return next((name for name, least in reversed(LEVELS.items()) if number >= least), "debug")


def _version() -> str:
    try:
        return version("omninode")
    except PackageNotFoundError:
        return "unknown"
