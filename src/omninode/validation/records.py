"""A file of inputs read piece by piece: plain text in parts cut at line ends, or JSON lines with an input in each.

A line of JSON is a string, or an object:

    {"text": "...", "trust": "tool", "kind": "tool", "id": "call-7", "route": "planner"}

`kind` is prompt, context, tool, message or tasks, and gives the trust of a line that names none; of kind tasks, `text`
may be the list itself. What is too long or nests too deep is said before anything is parsed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import BinaryIO

import orjson

from omninode.validation.limits import Limits, is_deeper
from omninode.validation.policy import Trust
from omninode.validation.report import Action, Finding, Severity

__all__ = ["Kind", "Record", "read_lines", "read_text"]

_FIELDS = ("text", "trust", "kind", "id", "route")
# A part of a text ends at the last line end in it; one without any ends inside a line.
_CHUNK_BYTES = 1 << 16


class Kind(StrEnum):
    """What an input is for."""

    PROMPT = "prompt"
    CONTEXT = "context"
    TOOL = "tool"
    MESSAGE = "message"
    TASKS = "tasks"


_TRUST_OF = MappingProxyType(
    {
        Kind.PROMPT: Trust.USER,
        Kind.TASKS: Trust.USER,
        Kind.CONTEXT: Trust.RETRIEVED,
        Kind.TOOL: Trust.TOOL,
        Kind.MESSAGE: Trust.AGENT,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One input of a file, or what is wrong with its line.

    `line` counts from 1. `start` is the place of a part of a text in all of it, in characters; of a line of JSON it is
    None, since its text has no place of its own in the file. `value` is text, bytes, or for tasks what they are.
    """

    value: object
    line: int
    trust: Trust
    kind: Kind = Kind.PROMPT
    name: str = ""
    route: str | None = None
    start: int | None = None
    problem: Finding | None = None


def read_text(stream: BinaryIO, *, trust: Trust, most_bytes: int, route: str | None = None) -> Iterator[Record]:
    """The text in `stream` in parts of at most `most_bytes`, each ending with a line where that is possible.

    Bytes that are not UTF-8 end it, with the part in which they stand.
    """
    line, start, rest = 1, 0, b""
    while True:
        read = stream.read(most_bytes - len(rest)) if len(rest) < most_bytes else b""
        data = rest + read
        if not data:
            return
        part = data if len(data) < most_bytes else _cut(data)
        rest = data[len(part) :]
        try:
            text = part.decode("utf-8")
        except UnicodeDecodeError:
            yield Record(value=part, line=line, trust=trust, route=route, start=start)
            return
        yield Record(value=text, line=line, trust=trust, route=route, start=start)
        line += text.count("\n")
        start += len(text)


def _cut(data: bytes) -> bytes:
    end = data.rfind(b"\n") + 1
    if end:
        return data[:end]
    end = len(data)
    # Before a character that is not all there: its continuation bytes begin with the bits 10.
    while end > len(data) - 4 and end > 1 and data[end - 1] & 0xC0 == 0x80:
        end -= 1
    is_whole = data[end - 1] < 0x80 or _is_complete(data[end - 1 :])
    return data if is_whole or end == 1 else data[: end - 1]


def _is_complete(tail: bytes) -> bool:
    first = tail[0]
    return len(tail) >= (4 if first >= 0xF0 else 3 if first >= 0xE0 else 2)


def read_lines(stream: BinaryIO, *, limits: Limits, trust: Trust | None = None) -> Iterator[Record]:
    """The inputs in the lines of `stream`; blank lines are passed over. `trust` is that of lines that name none."""
    # Of a line the text is one field, which JSON may write with six bytes for one.
    most = 6 * max(limits.max_item_bytes, limits.max_prompt_bytes) + limits.max_tasks_bytes
    for number, line in enumerate(_lines(stream, most), 1):
        if line is None:
            yield _problem(number, "INPUT.TOO_LARGE", f"line {number} is longer than {most:,} bytes", trust)
        elif line.strip():
            yield _record(line, number, limits=limits, trust=trust)


def _lines(stream: BinaryIO, most: int) -> Iterator[bytes | None]:
    """Each line; None for one that is longer than `most`, which is read to its end and not kept."""
    while line := stream.readline(most + 1):
        if len(line) <= most:
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = stream.readline(_CHUNK_BYTES)
        yield None


def _record(line: bytes, number: int, *, limits: Limits, trust: Trust | None) -> Record:
    if is_deeper(line, than=limits.max_json_depth):
        what = f"line {number} nests more than {limits.max_json_depth} levels"
        return _problem(number, "INPUT.TOO_DEEP", what, trust)
    try:
        # A file that another system wrote may begin with a byte-order mark.
        entry = orjson.loads(line.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        return _problem(number, "INPUT.NOT_JSON", f"line {number} is not JSON: {error.msg}", trust)
    if isinstance(entry, str):
        entry = {"text": entry}
    wrong = _wrong(entry)
    if wrong is not None:
        return _problem(number, "INPUT.INVALID", f"line {number}: {wrong}", trust)
    kind = Kind(entry.get("kind") or Kind.PROMPT)
    named = entry.get("trust")
    implied = _TRUST_OF[kind] if entry.get("kind") else trust or Trust.USER
    return Record(
        value=entry["text"],
        line=number,
        trust=Trust(named) if named else implied,
        kind=kind,
        name=str(entry.get("id") or ""),
        route=entry.get("route"),
    )


def _wrong(entry: object) -> str | None:
    """What is wrong with the object of a line, in words; None when nothing is."""
    if not isinstance(entry, dict):
        return f"a string or an object is needed, not {type(entry).__name__}"
    unknown = sorted(set(entry) - set(_FIELDS))
    if unknown:
        return f"there is no field {unknown[0][:40]!r}; known are {', '.join(_FIELDS)}"
    for name, choices in (("trust", Trust), ("kind", Kind)):
        value = entry.get(name)
        if value is not None and value not in list(choices):
            return f"{name} is {str(value)[:40]!r}; choose {', '.join(choices)}"
    if not isinstance(entry.get("route"), str | None):
        return "route is not text"
    value = entry.get("text")
    is_right = value is not None if entry.get("kind") == Kind.TASKS else isinstance(value, str)
    return None if is_right else "the field 'text' is missing or not text"


def _problem(number: int, code: str, message: str, trust: Trust | None) -> Record:
    found = Finding(code=code, severity=Severity.ERROR, path=f"line {number}", message=message, action=Action.BLOCK)
    return Record(value="", line=number, trust=trust or Trust.USER, problem=found)
