"""Documents with and without instructions planted in them, for the head that reads material from outside.

The folder gives clean documents and the same with something planted. What was planted is taken out again by comparing
the two, and planted anew: so what is measured was never trained on, neither the document nor what is in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from random import Random
from zlib import crc32

from omninode.bench.injection.data import Sample

__all__ = ["FOLDS", "Planted", "documents", "payloads", "planted"]

FOLDS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """A document, what was planted in it ("" for nothing) and where that stands."""

    text: str
    payload: str
    start: int
    fold: int


def fold(text: str) -> int:
    """The fold of a document or a payload, the same wherever it is met."""
    return crc32(" ".join(text.split()).encode()) % FOLDS


def documents(samples: Sequence[Sample]) -> list[str]:
    """The clean documents."""
    return [sample.text for sample in samples if sample.kind.startswith("document_")]


def payloads(samples: Sequence[Sample]) -> list[str]:
    """What was planted in the folder's documents, each once."""
    clean = documents(samples)
    heads = {text[:60].strip(): text for text in clean}
    tails = {text[-60:].strip(): text for text in clean}
    found: dict[str, None] = {}
    for sample in samples:
        if not (sample.is_planted and sample.is_attack):
            continue
        document = heads.get(sample.text[:60].strip()) or tails.get(sample.text[-60:].strip())
        taken = _taken_out(sample.text, document) if document is not None else ""
        if 8 <= len(taken) <= 2_000:
            found[taken] = None
    return list(found)


def _taken_out(text: str, document: str) -> str:
    text, document = text.strip(), document.strip()
    before = _shared(text, document)
    after = _shared(text[::-1], document[::-1])
    if before + after < len(document) - 2:
        return ""
    return text[before : len(text) - min(after, len(document) - before)].strip()


def _shared(one: str, other: str) -> int:
    """How many characters both begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def planted(document: str, payload: str, *, random: Random) -> Planted:
    """The document with the payload at its start, its end, or a border of lines or sentences between."""
    borders = [at + 1 for at, mark in enumerate(document) if mark == "\n"]
    borders += [at + 2 for at in range(len(document) - 2) if document[at : at + 2] == ". "]
    at = random.choice([0, len(document), random.choice(borders or [0])])
    before = document[:at] + ("\n" if at and document[at - 1] not in "\n " else "")
    return Planted(
        text=f"{before}{payload}\n{document[at:]}",
        payload=payload,
        start=len(before),
        fold=fold(document),
    )
