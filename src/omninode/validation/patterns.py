"""Patterns of RE2, whose time is linear in the text whatever they are; each is compiled when it is first used."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import re2

__all__ = ["automaton", "compiled"]

# With the default budget a large automaton would be rebuilt over and over on long texts.
_MOST_MEMORY = 64 << 20


@cache
def compiled(pattern: str | bytes) -> re2._Regexp:
    """`pattern` ready for use, made once a process."""
    return re2.compile(pattern)


def automaton(patterns: Iterable[str]) -> re2.Set:
    """One pass over a text for all `patterns`: its `Match` has the numbers of those that match anywhere, or None."""
    options = re2.Options()
    options.max_mem = _MOST_MEMORY
    several = re2.Set.SearchSet(options)
    for pattern in patterns:
        several.Add(pattern)
    several.Compile()
    return several
