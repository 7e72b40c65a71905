"""Server-sent events from bytes, however the network cut them (WHATWG HTML, section 9.2.6).

Lines are split as bytes and an event is handed out only when its blank line has come, so a character split between
two reads is never decoded in halves. A comment line is a keep-alive and yields nothing; an event the stream ends
inside of is dropped, which the layer above notices as a missing end.
"""

from __future__ import annotations

from dataclasses import dataclass

from omninode.core.errors import MalformedAnswerError

__all__ = ["ServerEvent", "SseParser"]


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event: its name ("message" where it has none) and its data, still bytes."""

    name: str
    data: bytes


class SseParser:
    """Feed it bytes, get the events they complete. An event above `max_event_bytes` raises MalformedAnswerError."""

    def __init__(self, *, max_event_bytes: int = 1024 * 1024) -> None:
        self._max = max_event_bytes
        self._tail = b""
        self._skip_newline = False
        self._is_first = True
        self._name = b""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        """The events that `chunk` completes, in order."""
        if self._skip_newline and chunk:
            # The last line ended in CR; an LF now is the second half of that CRLF.
            chunk = chunk.removeprefix(b"\n")
            self._skip_newline = False
        lines = (self._tail + chunk).splitlines(keepends=True)
        self._tail = b""
        if lines and not lines[-1].endswith((b"\n", b"\r")):
            self._tail = lines.pop()
        elif lines and lines[-1].endswith(b"\r"):
            self._skip_newline = True
        events = [event for line in lines if (event := self._line(line.rstrip(b"\r\n"))) is not None]
        self._bound(len(self._tail))
        return events

    def _line(self, line: bytes) -> ServerEvent | None:
        # Also for what is not data: the same line must not depend on how many reads it came in.
        self._bound(len(line))
        if self._is_first:
            line = line.removeprefix(b"\xef\xbb\xbf")
            self._is_first = False
        if not line:
            return self._ended()
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
            self._size += len(value) + 1
            self._bound(0)
        elif field == b"event":
            self._name = value
        return None  # comments (an empty field), id, retry and unknown fields tell us nothing

    def _ended(self) -> ServerEvent | None:
        data, name = self._data, self._name
        self._data, self._name, self._size = [], b"", 0
        return ServerEvent(name.decode("utf-8", "replace") or "message", b"\n".join(data)) if data else None

    def _bound(self, more: int) -> None:
        if self._size + more > self._max:
            raise MalformedAnswerError(f"an event of the stream exceeds {self._max} bytes", retryable=False)
