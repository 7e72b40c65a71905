"""Stretches of a text that read as language only backwards, thirteen letters on (rot13), or both.

Which letter follows which tells a language from its mirror image. What each pair of letters says for a reading is added
up along the text and never falls below zero, so a stretch shows wherever it stands and whatever surrounds it.
"""

from __future__ import annotations

import codecs
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from omninode.validation.origin import Derived, Pieces

__all__ = ["SYMBOLS", "TURNS", "Turned", "symbols", "turned"]

SYMBOLS = 27
"""The letters a to z, and anything else as the first."""

TURNS = MappingProxyType[str, Callable[[str], str]](
    {
        "rot13": lambda text: codecs.encode(text, "rot13"),
        "reversed": lambda text: text[::-1],
        "reversed, rot13": lambda text: codecs.encode(text[::-1], "rot13"),
    }
)
"""How a text is turned, by name; each undoes itself."""
_NAMES = tuple(TURNS)

_SYMBOL_OF = bytes(ord(chr(code).lower()) - 96 if code < 128 and chr(code).isalpha() else 0 for code in range(256))
# In tenths of the natural logarithm. Of ordinary texts up to this length one in a hundred reaches it somewhere, a sentence
# turned twice it. A longer one has more places at which to reach it by chance.
_ENOUGH, _SHORT = 60, 300
_MORE_FOR_LONGER = 12
# What reads as a language has likelier pairs than this, whichever way round; and signs are none.
_NO_LANGUAGE, _NO_LETTERS = -65, -5
# A stretch is read with what stands beside it: its first word may look like either.
_BESIDE = 24
# Pairs that are summed up together.
_BLOCK = 8_000
_MOST = 16


def symbols(text: str) -> bytes:
    """One number per character: 1 to 26 for a letter of the alphabet in either case, 0 for anything else."""
    return text.encode("ascii", "replace").translate(_SYMBOL_OF)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turned:
    """The stretches that one turn makes language, turned; `is_whole` when the whole text reads better that way."""

    name: str
    derived: Derived
    stretches: tuple[tuple[int, int], ...]
    is_whole: bool


def turned(
    source: Derived,
    *,
    is_tight: bool = False,
    are_several: bool = False,
    pause: Callable[[], None] = lambda: None,
) -> list[Turned]:
    """The stretches of `source` that read as language when turned, all those of one turn together; strongest first.

    Args:
        source: any text.
        is_tight: whether a stretch has only the words with it in which it begins and ends, and not some on either side,
            which may look like either.
        are_several: whether it is many short texts in one, each of which is to be read as it would be by itself.
        pause: called between steps.
    """
    enough = _ENOUGH if are_several else _ENOUGH + _more_for(len(source.text))
    found = symbols(f" {source.text} ")
    # Each symbol with the one behind it, as one number.
    pairs = np.ndarray((len(found) - 1,), dtype="<u2", buffer=found, strides=(1,))
    rises: list[tuple[int, str, list[tuple[int, int]], bool]] = []
    for row, peak in enumerate(_peaks(pairs, pause)):
        if peak < enough:
            continue
        pause()
        total = _evidence()[row].take(pairs).cumsum(dtype=np.int32)
        above = total - np.minimum.accumulate(total)
        is_whole = bool(total[-1] > 0)
        stretches = (
            [(0, len(source.text))] if is_whole else _stretches(above, source.text, enough=enough, is_tight=is_tight)
        )
        rises.append((int(above.max()), _NAMES[row], stretches, is_whole))
    made: list[Turned] = []
    taken: list[tuple[int, int]] = []
    for _, name, stretches, is_whole in sorted(rises, key=lambda rise: -rise[0]):
        # What reads as language one way has something of it the other ways too.
        own = [stretch for stretch in stretches if not _overlaps(stretch, taken)]
        if own:
            derived = _joined(source, own, TURNS[name])
            made.append(Turned(name=name, derived=derived, stretches=tuple(own), is_whole=is_whole))
            taken += own
    return made


def _more_for(length: int) -> int:
    return round(_MORE_FOR_LONGER * math.log(max(1.0, length / _SHORT)))


def _peaks(pairs: npt.NDArray[np.uint16], pause: Callable[[], None]) -> list[int]:
    """The highest sum each turn reaches anywhere; in blocks, which stay in the processor's cache."""
    evidence = _evidence()
    found: list[npt.NDArray[np.int32]] = []
    carried: npt.NDArray[np.int32] | None = None
    for start in range(0, pairs.size, _BLOCK):
        pause()
        # No index is out of range, and not looking whether one is takes half the time.
        total = evidence.take(pairs[start : start + _BLOCK].astype(np.intp), axis=1, mode="clip")
        np.add.accumulate(total, axis=1, out=total)
        lowest = np.minimum.accumulate(total, axis=1)
        if carried is not None:
            total += carried
            np.minimum(lowest + carried, 0, out=lowest)
        total -= lowest
        found.append(total.max(axis=1))
        carried = total[:, -1:]
    peaks: list[int] = np.max(found, axis=0).tolist()
    return peaks


def _overlaps(stretch: tuple[int, int], others: list[tuple[int, int]]) -> bool:
    return any(stretch[0] < end and start < stretch[1] for start, end in others)


def _stretches(above: npt.NDArray[np.int32], text: str, *, enough: int, is_tight: bool) -> list[tuple[int, int]]:
    """Where the sum rose from zero to enough, with what stands beside it; none overlapping another."""
    rises = np.flatnonzero(above == 0)
    high = np.flatnonzero(above >= enough)
    chosen = np.unique(np.searchsorted(rises, high, side="right") - 1)[:_MOST]
    ends = np.append(rises, above.size)
    around = _in_words if is_tight else _beside
    found: list[tuple[int, int]] = []
    for index in chosen.tolist():
        start, last = int(ends[index]), int(ends[index + 1])
        start, end = around(text, start, start + int(above[start:last].argmax()) + 1)
        if found and start <= found[-1][1]:
            start = found.pop()[0]
        found.append((start, end))
    return found


def _beside(text: str, start: int, end: int) -> tuple[int, int]:
    """The stretch made longer on both sides, by whole words where there are any."""
    first, last = max(0, start - _BESIDE), min(len(text), end + _BESIDE)
    if first:
        first = max(first, text.find(" ", first, start) + 1)
    if last < len(text):
        last = max(text.rfind(" ", end, last), end) if " " in text[end:last] else last
    return first, last


def _in_words(text: str, start: int, end: int) -> tuple[int, int]:
    """The stretch with the whole of the words in which it begins and ends, where these are no longer than others."""
    before, behind = text.rfind(" ", max(0, start - _BESIDE), start + 1), text.find(" ", end - 1, end + _BESIDE)
    if before >= 0 or start <= _BESIDE:
        start = before + 1
    if behind >= 0 or end + _BESIDE >= len(text):
        end = behind if behind >= 0 else len(text)
    return start, end


def _joined(source: Derived, stretches: list[tuple[int, int]], turn: Callable[[str], str]) -> Derived:
    pieces, done = Pieces(), 0
    for start, end in stretches:
        if done:
            pieces.add("\n", start=done, end=start, is_copy=False)
        pieces.add(turn(source.text[start:end]), start=start, end=end, is_copy=False)
        done = end
    return pieces.derived(source)


@cache
def _evidence() -> npt.NDArray[np.int32]:
    """For each turn a row: what each pair of letters says for a text that was turned, against one that was not or is none.

    By the symbol of the first letter and 256 times that of the second.
    """
    lines = files(__package__).joinpath("letter_pairs.txt").read_text(encoding="utf-8").splitlines()
    plain = np.array([line.split() for line in lines], dtype=np.int32)
    rot13 = np.r_[0, 14:27, 1:14]
    shifted = plain[np.ix_(rot13, rot13)]
    likeliest = np.maximum(plain, _NO_LANGUAGE)
    evidence = np.zeros((len(TURNS), SYMBOLS, 256), dtype=np.int32)
    for row, each in enumerate((shifted, plain.T, shifted.T)):
        evidence[row, :, :SYMBOLS] = (each - likeliest).T
    evidence[:, 0, 0] = _NO_LETTERS
    return evidence.reshape(len(TURNS), -1)
