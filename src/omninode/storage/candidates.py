"""Which index could spare a full scan: its columns, read from the filter that the plan prints.

Equality columns first, then one range column or the order that is wanted; only what every row must fulfil counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from omninode.storage.plans import FullScan

__all__ = ["candidate_columns"]

_MOST_COLUMNS = 3
_NAME = r'(?:(?P<alias>\w+)\.)?(?:"(?P<quoted>(?:[^"]|"")+)"|(?P<plain>[a-z_]\w*))'
_COMPARED = re.compile(rf"^\(*{_NAME}\)*(?:::[a-z ]+(?:\(\d+\))?)?\)* (?P<how>=|<=|>=|<|>) (?P<what>.+)$", re.DOTALL)
_SORTED = re.compile(rf"^{_NAME}(?: DESC| ASC)?(?: NULLS (?:FIRST|LAST))?$")


def candidate_columns(scan: FullScan, *, columns: Sequence[str]) -> tuple[str, ...]:
    """The columns, in order, of the index that `scan` could use; empty when none of its filter can be looked up.

    `columns` are those of the table: what is no column of it is an expression or belongs to another table.
    """
    equal: list[str] = []
    ranges: list[str] = []
    for condition in _conjuncts(scan.filter):
        found = _COMPARED.match(condition)
        if found is None or (name := _name(found)) not in columns:
            continue
        chosen = equal if found["how"] == "=" else ranges
        if name not in chosen:
            chosen.append(name)
    if not equal and not ranges:
        return ()
    last = ranges[:1] or _sort_column(scan.sorts_by, columns)
    return tuple(dict.fromkeys([*equal, *last]))[:_MOST_COLUMNS]


def _sort_column(keys: Sequence[str], columns: Sequence[str]) -> list[str]:
    found = _SORTED.match(keys[0]) if keys else None
    return [name] if found is not None and (name := _name(found)) in columns else []


def _name(found: re.Match[str]) -> str:
    return found["quoted"].replace('""', '"') if found["quoted"] else str(found["plain"])


def _conjuncts(text: str) -> Iterator[str]:
    """The conditions that hold together; one that is an OR of others stays whole, and matches nothing."""
    inner = _unwrapped(text)
    pieces = list(_split(inner, " AND "))
    if len(pieces) > 1:
        for piece in pieces:
            yield from _conjuncts(piece)
    elif len(list(_split(inner, " OR "))) == 1:
        yield inner


def _unwrapped(text: str) -> str:
    text = text.strip()
    while text.startswith("(") and _closing(text) == len(text) - 1:
        text = text[1:-1].strip()
    return text


def _closing(text: str) -> int:
    """Where the parenthesis that the text begins with is closed."""
    for place, depth in _depths(text):
        if depth == 0 and text[place] == ")":
            return place
    return -1


def _split(text: str, word: str) -> Iterator[str]:
    begin = 0
    for place, depth in _depths(text):
        if depth == 0 and place >= begin and text.startswith(word, place):
            yield text[begin:place]
            begin = place + len(word)
    yield text[begin:]


def _depths(text: str) -> Iterator[tuple[int, int]]:
    """Each place outside quotes, with how many parentheses are open behind it."""
    depth, quote = 0, ""
    for place, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
            continue
        if letter in "'\"":
            quote = letter
        depth += (letter == "(") - (letter == ")")
        yield place, depth
