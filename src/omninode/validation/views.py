"""The texts a rule looks at: the one given, and what it turns into when a simple disguise is taken off.

Each view knows the way back to the original. Ordinary text makes few views, and a view that reads the same as the
first is not made. Decoding is bounded in depth and in volume, so a small input cannot grow into a large one.
"""

from __future__ import annotations

import math
import tomllib
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import islice

import numpy as np
import numpy.typing as npt
import re2

from omninode.validation.codes import ENCODED, MORSE, decoded, hidden_tags
from omninode.validation.origin import Derived, Pieces
from omninode.validation.patterns import automaton, compiled
from omninode.validation.spacing import SPACED, closed
from omninode.validation.turned import Turned, turned
from omninode.validation.unicode import clean

__all__ = ["View", "is_leet", "leet", "ordinary", "scored_text", "views"]

_DEPTH = 3
# With more characters that fold to none or several, places are kept by blocks of so many and no longer by character.
_MOST_UNEVEN, _BLOCK = 2_000, 64

# A shorter stretch, turned out of a text that is none otherwise, says too little to be judged by its wording.
_TELLING = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One reading of a text, in lower case; `name` says how it was made ("text" for the plain one).

    Rules look at every view, the trained model at those that `reads_like_language`.
    """

    name: str
    derived: Derived
    reads_like_language: bool = True


def views(cleaned: Derived, *, original: str, pause: Callable[[], None] = lambda: None) -> Iterator[View]:
    """Every reading of the cleaned text, the plain one first. Hidden tag characters are read from the original.

    `pause` is called between steps.
    """
    budget = _Budget(2 * len(original), pause)
    yield from _readings(cleaned, Derived(text=original), name="", depth=_DEPTH, budget=budget)


class _Budget:
    """How many characters may still be made of a text, and what is to be called meanwhile."""

    __slots__ = ("_left", "pause")

    def __init__(self, size: int, pause: Callable[[], None]) -> None:
        self._left = size
        self.pause = pause

    def allows(self, derived: Derived) -> bool:
        """Whether there is room for `derived`; it is taken when there is."""
        if len(derived.text) > self._left:
            return False
        self._left -= len(derived.text)
        return True


def _readings(
    source: Derived, hidden: Derived, *, name: str, depth: int, budget: _Budget, is_read: bool = True
) -> Iterator[View]:
    """The readings of `source` and of what is encoded in it, down to `depth`; `hidden` is it before it was cleaned."""
    plain = _folded(source)
    budget.pause()
    latin = _latin(plain)
    cased = source if source.text.isascii() else _folded(source, fold=_unstyled)
    budget.pause()
    hints = set(_hints().Match(cased.text) or ())
    may_be_leet = _LEET_HINT in hints if latin is plain else _has_leet(latin.text)
    is_coded = depth > 0 and not (hints <= {_LEET_HINT} and cased.text.isascii() and hidden.text.isascii())
    close = closed(cased) if is_coded else None
    is_spaced = close is not None and len(cased.text) - len(close.text) > len(cased.text) // 6
    is_language = _MORSE_HINT not in hints and _is_language(latin.text)
    said = latin if is_language else _between_codes(latin, pause=budget.pause)
    # Letters on their own say nothing of what follows what.
    found = [] if is_spaced or said is None else turned(said, pause=budget.pause)
    turns = [each for each in found if _is_language(each.derived.text)]
    is_disguised = is_spaced or any(each.is_whole for each in turns)
    yield from _as_written(
        plain, latin, said if is_read and not is_disguised else None, name=name, may_be_leet=may_be_leet
    )
    inner = [("spaced", close), ("tag characters", hidden_tags(hidden)), *decoded(cased)] if is_coded else []
    for code, derived in inner:
        if derived is not None and budget.allows(derived):
            yield from _readings(
                derived,
                derived,
                name=_named(name, code),
                depth=depth - 1,
                budget=budget,
                is_read=derived is not close or is_spaced,
            )
    yield from _as_turned(turns, name=name, budget=budget)


def _as_written(
    plain: Derived, latin: Derived, said: Derived | None, *, name: str, may_be_leet: bool
) -> Iterator[View]:
    """The plain reading, with look-alikes as letters, with digits as letters, and without the codes in it.

    The model reads one of them at most: what is `said`, which is all of it or the words between the codes.
    """
    has_leet = may_be_leet and is_leet(latin.text)
    is_plain = said is latin and not has_leet
    yield View(name=name or "text", derived=plain, reads_like_language=is_plain and latin is plain)
    if latin is not plain:
        yield View(name=_named(name, "look-alikes"), derived=latin, reads_like_language=is_plain)
    if may_be_leet:
        letters = Derived(text=latin.text.translate(_LEET), source=plain)
        yield View(name=_named(name, "leet"), derived=letters, reads_like_language=said is latin and has_leet)
    if said is not None and said is not latin:
        yield View(name=_named(name, "words between codes"), derived=said)


def _as_turned(turns: Sequence[Turned], *, name: str, budget: _Budget) -> Iterator[View]:
    """What was turned; and of what was turned as a whole the stretches that were not, which stand out in it."""
    for each in turns:
        if not budget.allows(each.derived):
            continue
        is_telling = each.is_whole or len(each.derived.text) >= _TELLING
        yield View(name=_named(name, each.name), derived=each.derived, reads_like_language=is_telling)
        for back in turned(each.derived, is_tight=True, pause=budget.pause) if each.is_whole else ():
            if budget.allows(back.derived):
                yield View(name=name or "text", derived=back.derived)


def _named(*names: str) -> str:
    return ", ".join(name for name in names if name)


def scored_text(text: str) -> str:
    """`text` as the injection model learns it: cleaned, folded, look-alikes and digits for letters read as letters.

    Of a text that is for the most part a code, or holds Morse, the words between the codes, where there are any.
    """
    latin = _latin(_folded(clean(text).derived))
    is_read = _is_language(latin.text) and compiled(MORSE).search(latin.text) is None
    said = None if is_read else _between_codes(latin)
    plain = latin.text if said is None else said.text
    return plain.translate(_LEET) if is_leet(plain) else plain


def ordinary(cleaned: Derived) -> Derived | None:
    """The plain reading, with look-alikes read as letters; None when there may be others than those `turned` makes.

    It has a source only where letters were read so, and is as long as the text.
    """
    plain = _folded(cleaned)
    text = cleaned.text
    if len(plain.text) != len(text) or closed(cleaned) is not None or any(decoded(cleaned)):
        return None
    if not text.isascii() and (hidden_tags(cleaned) is not None or _folded(cleaned, fold=_unstyled).text != text):
        return None
    latin = _latin(plain)
    return Derived(text=latin.text, source=None if latin is plain else plain)


def _latin(plain: Derived) -> Derived:
    if plain.text.isascii():
        return plain
    codes = np.frombuffer(plain.text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    table = _looks_like()
    alike = {code: table[code] for code in _distinct(codes) if code in table}
    latin = _replaced(codes, alike) if alike else plain.text
    return plain if latin == plain.text else Derived(text=latin, source=plain)


def _has_leet(text: str) -> bool:
    """Whether a digit or sign stands beside a letter, and so could be one."""
    return compiled(_LEET_PATTERN).search(text) is not None


def leet(text: str) -> str:
    """`text` with digits and signs read as the letters they look like, where any stands beside a letter."""
    return text.translate(_LEET) if _has_leet(text) else text


def is_leet(text: str) -> bool:
    """Whether digits and signs stand for letters: in two words or more, and in one of six."""
    if not any(map(text.__contains__, _LEET_MARKS)):
        return False
    sample = text[:2_000]
    needed = max(2, math.ceil(sample.count(" ") / 6))
    words = compiled(r"[a-z][430157@$!|]+[a-z]|\b[430157@$!|]+[a-z]{2}").finditer(sample)
    return sum(1 for _ in islice(words, needed)) == needed


# What remains of hexadecimal digits, percent encoding, entities, escapes or Morse without these is nothing.
_CODE_SIGNS = "0123456789abcdef \n\t%&#xu+;:,.-_=/+\\|'\""
_CODE_BYTES = _CODE_SIGNS.encode("ascii")
# Longer ones are codes; with fewer of them nothing is said.
_LONGEST_WORD, _FEWEST_WORDS = 40, 3
# Words beside each other that each hold more than such signs.
_SAID_WORD = rf"\S*[^\s{re2.escape(_CODE_SIGNS.strip())}]\S*"
_SAID = rf"{_SAID_WORD}(?:\s+{_SAID_WORD})*"


def _is_language(text: str) -> bool:
    """Whether the model can make anything of it as it is: no digits and signs alone, no long code."""
    sample = text[:2_000]
    if not sample.isascii():
        return True
    coded = sum(len(word) for word in sample.split() if len(word) > _LONGEST_WORD)
    return 2 * coded < len(sample) and 6 * len(sample.encode().translate(None, _CODE_BYTES)) > len(sample)


def _between_codes(source: Derived, *, pause: Callable[[], None] = lambda: None) -> Derived | None:
    """What stands in words between the codes, numbers and signs of a text; None when that is next to nothing."""
    text, pieces, count = source.text, Pieces(), 0
    for match in compiled(_SAID).finditer(text):
        pause()
        for start, end in _without_long_words(text, *match.span()):
            if count:
                pieces.add("\n", start=start, end=start, is_copy=False)
            pieces.add(text[start:end], start=start, end=end)
            count += len(text[start:end].split())
    return pieces.derived(source) if count >= _FEWEST_WORDS else None


def _without_long_words(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The stretch, or what is left of it on either side of words that are too long to be any."""
    for word in text[start:end].split():
        if len(word) > _LONGEST_WORD:
            place = text.find(word, start, end)
            if place > start:
                yield start, place
            start = place + len(word)
    if start < end:
        yield start, end


def _fold(character: str) -> str:
    return character.lower() if character.isascii() else _unstyled(character).casefold()


def _unstyled(character: str) -> str:
    if character.isascii():
        return character
    # Format characters show nothing; marks left over after composing are piled on letters to disguise them.
    if unicodedata.category(character) == "Cf" or "\u0300" <= character < "\u0370":
        return ""
    if character.isspace():
        return "\n" if character in "\u2028\u2029" else " "
    return unicodedata.normalize("NFKC", character)


def _folded(source: Derived, *, fold: Callable[[str], str] = _fold) -> Derived:
    """Compatibility forms folded (full width, ligatures, styled letters), format characters gone, case as `fold` says."""
    text = source.text
    if text.isascii():
        return Derived(text=text.lower(), source=source)
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    table = {code: fold(chr(code)) for code in _distinct(codes)}
    if all(reading == chr(code) for code, reading in table.items()):
        return source
    uneven = [code for code, reading in table.items() if len(reading) != 1]
    if not uneven:
        return Derived(text=_replaced(codes, table), source=source)
    places = np.flatnonzero(np.isin(codes, uneven)).tolist()
    pieces, done = Pieces(), 0
    if len(places) > _MOST_UNEVEN:
        for start in range(0, len(text), _BLOCK):
            block = text[start : start + _BLOCK]
            pieces.add(block.translate(table), start=start, end=start + len(block), is_copy=False)
        return pieces.derived(source)
    for place in places:
        pieces.add(text[done:place].translate(table), start=done, end=place)
        pieces.add(table[ord(text[place])], start=place, end=place + 1)
        done = place + 1
    pieces.add(text[done:].translate(table), start=done, end=len(text))
    return pieces.derived(source)


def _distinct(codes: npt.NDArray[np.uint32]) -> list[int]:
    seen = np.zeros(int(codes.max()) + 1, dtype=bool)
    seen[codes] = True
    return np.flatnonzero(seen).tolist()


def _replaced(codes: npt.NDArray[np.uint32], table: Mapping[int, str]) -> str:
    """The text of `codes` with each in `table` as the one character there: `str.translate`, a tenth of its time."""
    readings = np.arange(int(codes.max()) + 1, dtype=np.uint32)
    for code, reading in table.items():
        if code < readings.size:
            readings[code] = ord(reading)
    return readings[codes].tobytes().decode("utf-32-le", "surrogatepass")


_LEET_MARKS = "431057@$!|"
_LEET = str.maketrans(_LEET_MARKS, "aeiostasil")


_LEET_PATTERN = r"(?i:[a-z][430157@$!|]|[430157@$!|][a-z])"
_HINTS = (_LEET_PATTERN, *SPACED, *ENCODED)
_LEET_HINT, _MORSE_HINT = 0, len(_HINTS) - 1


@cache
def _hints() -> re2.Set:
    """One pass that tells whether there may be anything to take off beside turns, which no pattern finds."""
    return automaton(_HINTS)


@cache
def _looks_like() -> dict[int, str]:
    """Code points that read as a Latin letter: the look-alikes, and letters with marks."""
    table: dict[int, str] = {}
    for name in ("look_alikes.toml", "confusables.toml"):
        alikes = tomllib.loads(files(__package__).joinpath(name).read_text(encoding="utf-8"))
        for letter, several in alikes.items():
            for alike in several:
                table.setdefault(ord(alike), letter)
    for code in (*range(0xC0, 0x250), *range(0x1E00, 0x1F00)):
        letter = unicodedata.normalize("NFD", chr(code))[0]
        if letter.isascii():
            table.setdefault(code, letter)
    return table
