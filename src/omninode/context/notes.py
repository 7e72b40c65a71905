"""What was useful before, as hints for the next prompt: which kinds of context answers drew on, and which files.

A file is recommended only when it helped often enough that chance is an unlikely reason: the 5 % quantile of
Beta(1 + helped, 1 + not) must exceed one half. Kept in memory, for as long as the process runs.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from omninode.context.lexical import tokenize

__all__ = ["FileNotes", "Note", "beta_quantile"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A file that helped on similar prompts, and how often it was sent there."""

    path: str
    helped: int
    sent: int


@dataclass(slots=True)
class _Record:
    helped: int
    harmed: int
    words: set[str]


class FileNotes:
    """Counts, per file, how often it helped; the one not touched for longest goes first when full."""

    def __init__(self, *, max_files: int = 500, max_words: int = 200) -> None:
        self._max_files = max_files
        self._max_words = max_words
        self._records: OrderedDict[str, _Record] = OrderedDict()

    def take(self, prompt: str, paths: Iterable[str], *, has_helped: bool) -> None:
        """Note that `paths` helped with `prompt`, or did not."""
        words = set(tokenize(prompt))
        for path in dict.fromkeys(paths):
            record = self._records.setdefault(path, _Record(0, 0, set()))
            self._records.move_to_end(path)
            if has_helped:
                record.helped += 1
                record.words = set(list(record.words | words)[: self._max_words])
            else:
                record.harmed += 1
            if len(self._records) > self._max_files:
                self._records.popitem(last=False)

    def recall(self, prompt: str, *, limit: int = 5) -> list[Note]:
        """The files that helped on prompts with the same words, best supported first."""
        words = set(tokenize(prompt))
        found = []
        for path, record in self._records.items():
            if not words & record.words or not _is_supported(record):
                continue
            likeness = len(words & record.words) / math.sqrt(len(words) * len(record.words))
            found.append((likeness, Note(path=path, helped=record.helped, sent=record.helped + record.harmed)))
        found.sort(key=lambda entry: (-entry[0], entry[1].path))
        return [note for _, note in found[:limit]]


def _is_supported(record: _Record) -> bool:
    return beta_quantile(0.05, 1 + record.helped, 1 + record.harmed) > 0.5


def beta_quantile(probability: float, a: int, b: int) -> float:
    """The quantile of Beta(a, b) for whole a and b, by halving: its distribution is a binomial tail."""
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        if _beta_distribution(middle, a, b) < probability:
            low = middle
        else:
            high = middle
    return low


def _beta_distribution(x: float, a: int, b: int) -> float:
    n = a + b - 1
    return sum(math.comb(n, k) * x**k * (1 - x) ** (n - k) for k in range(a, n + 1))
