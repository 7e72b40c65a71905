"""Cutting a file into pieces that a model can read on their own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Chunk", "chunks"]

# A line where a new thing begins: a heading, a definition at the left margin, a decorator.
_START = re.compile(
    r"(#{1,6} |@\w|(export |pub |public |private |protected |static |async |abstract |final )*"
    r"(def|class|func|fn|function|interface|struct|enum|trait|impl|type|module|CREATE|create)\b)"
)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive lines of a text; `first` and `last` are line numbers from 1."""

    text: str
    first: int
    last: int


def chunks(text: str, *, max_lines: int = 60, max_chars: int = 2_400) -> Iterator[Chunk]:
    """`text` in order, cut before a new definition or heading where there is one, else at a blank line.

    No chunk is longer than the limits, except that a single longer line stays whole up to `max_chars`. Blank chunks
    are left out.
    """
    lines = text.splitlines()
    first = 0
    while first < len(lines):
        end = _end(lines, first, max_lines, max_chars)
        piece = "\n".join(lines[first:end])[:max_chars]
        if piece.strip():
            yield Chunk(piece, first + 1, end)
        first = end


def _end(lines: list[str], first: int, max_lines: int, max_chars: int) -> int:
    """The line before which the chunk beginning at `first` ends."""
    furthest, size = first, 0
    while furthest < len(lines) and furthest - first < max_lines:
        size += len(lines[furthest]) + 1
        if size > max_chars and furthest > first:
            break
        furthest += 1
    if furthest == len(lines):
        return furthest
    # Not before a third of the way, or short definitions would make crumbs.
    earliest = first + max(1, (furthest - first) // 3)
    for test in (_begins, _is_blank):
        for at in range(furthest, earliest, -1):
            if at < len(lines) and test(lines, at):
                return at
    return furthest


def _begins(lines: list[str], at: int) -> bool:
    return _START.match(lines[at]) is not None and not lines[at - 1].startswith("@")


def _is_blank(lines: list[str], at: int) -> bool:
    return not lines[at - 1].strip()
