"""The texts a rule looks at: the one given, and what it turns into when a simple disguise is taken off.

Each view knows the way back to the original. Ordinary text makes few views, and a view that reads the same as the
first is not made. Decoding is bounded in depth and in volume, so a small input cannot grow into a large one.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import tomllib
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from html import unescape
from importlib.resources import files
from itertools import islice
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt
import re2

from omninode.validation.origin import Derived, Pieces
from omninode.validation.unicode import clean

__all__ = ["View", "scored_text", "views"]

_SPACED_PIECE = 128
_GAP_SIGNS = np.array([chr(code) in " .-_*/|" for code in range(129)])
_WORDS = np.array([chr(code).isalnum() or chr(code) == "_" for code in range(128)] + [True])
_DEPTH = 3
# Of one encoded run so much is decoded from its head and as much from its tail; multiples of what any code groups by.
_RUN_END = 6_000
_MOST_RUNS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One reading of a text, in lower case; `name` says how it was made ("text" for the plain one).

    Rules look at every view, the trained model at those that `reads_like_language`.
    """

    name: str
    derived: Derived
    reads_like_language: bool = True


def views(cleaned: Derived, *, original: str) -> Iterator[View]:
    """Every reading of the cleaned text, the plain one first. Hidden tag characters are read from the original."""
    plain = _folded(cleaned)
    latin = _latin(plain)
    disguises = list(_disguises(plain, latin.text))
    is_language = _is_language(latin.text) and not any(view.reads_like_language for view in disguises)
    yield View(name="text", derived=plain, reads_like_language=is_language and latin is plain)
    if latin is not plain:
        yield View(name="look-alikes", derived=latin, reads_like_language=is_language)
    yield from disguises
    if not original.isascii():
        yield from _hidden_tags(original)
    yield from _decoded(cleaned, depth=_DEPTH, budget=2 * len(cleaned.text))


def scored_text(text: str) -> str:
    """`text` as the injection model learns it: cleaned, folded, look-alikes and digits for letters read as letters."""
    latin = _latin(_folded(clean(text).derived)).text
    return latin.translate(_LEET) if _is_leet(latin) else latin


def _latin(plain: Derived) -> Derived:
    if plain.text.isascii():
        return plain
    latin = plain.text.translate(_looks_like())
    return plain if latin == plain.text else Derived(text=latin, source=plain)


def _disguises(plain: Derived, latin: str) -> Iterator[View]:
    text = plain.text
    leet = latin.translate(_LEET)
    if leet != latin:
        yield View(name="leet", derived=Derived(text=leet, source=plain), reads_like_language=_is_leet(latin))
    yield from _spaced(plain)
    turned = codecs.encode(text, "rot13")
    yield View(
        name="rot13",
        derived=Derived(text=turned, source=plain),
        reads_like_language=_is_likelier(turned, than=text),
    )
    backwards = Pieces()
    backwards.add(text[::-1], start=0, end=len(text), is_copy=False)
    reversed_ = backwards.derived(plain)
    yield View(name="reversed", derived=reversed_, reads_like_language=_is_likelier(reversed_.text, than=text))


# Common in most European languages written forwards, rare backwards or turned by thirteen letters.
_FREQUENT = (
    *("the", "ing", "ion", "ous", "and", "you", "est", "ent", "der", "que", "all", "for", "ich", "ein", "che", "les"),
    *("los", "ung", "our", "pro", "ver", "con", "are", "out", "hat", "str"),
)


def _is_likelier(text: str, *, than: str) -> bool:
    return _frequent(text) >= 2 + _frequent(than)


def _is_leet(text: str) -> bool:
    """Whether digits and signs stand for letters: in two words or more, and in one of six."""
    if not any(mark in text for mark in "430157@$!|"):
        return False
    sample = text[:2_000]
    words = _pattern(r"[a-z][430157@$!|]+[a-z]|\b[430157@$!|]+[a-z]{2}").findall(sample)
    return len(words) >= max(2, sample.count(" ") / 6)


# What remains of hexadecimal digits, percent encoding, entities or Morse without these is nothing.
_CODE_MARKS = {ord(mark): None for mark in "0123456789abcdef \n\t%&#x;:,.-_=/+\\|'\""}


def _is_language(text: str) -> bool:
    """Whether the model can make anything of it: not digits and signs alone, nor one long code."""
    sample = text[:2_000]
    if not sample.isascii():
        return True
    coded = sum(len(word) for word in sample.split() if len(word) > 40)
    return 2 * coded < len(sample) and 8 * len(sample.translate(_CODE_MARKS)) > len(sample)


def _frequent(text: str) -> int:
    """How many of the frequent runs of letters there are, of head and tail if it is long."""
    sample = text if len(text) <= 4_000 else f"{text[:2_000]} {text[-2_000:]}"
    return sum(run in sample for run in _FREQUENT)


def _folded(source: Derived) -> Derived:
    """Compatibility forms folded (full width, ligatures, styled letters), lower case, format characters gone."""
    text = source.text
    if text.isascii():
        return Derived(text=text.lower(), source=source)
    readings = {character: _fold(character) for character in set(text)}
    table = {ord(character): reading for character, reading in readings.items()}
    uneven = {character for character, reading in readings.items() if len(reading) != 1}
    if not uneven:
        return Derived(text=text.translate(table), source=source)
    pieces, done = Pieces(), 0
    for place, character in enumerate(text):
        if character in uneven:
            pieces.add(text[done:place].translate(table), start=done, end=place)
            pieces.add(readings[character], start=place, end=place + 1)
            done = place + 1
    pieces.add(text[done:].translate(table), start=done, end=len(text))
    return pieces.derived(source)


def _fold(character: str) -> str:
    if character.isascii():
        return character.lower()
    # Format characters show nothing; marks left over after composing are piled on letters to disguise them.
    if unicodedata.category(character) == "Cf" or "\u0300" <= character < "\u0370":
        return ""
    if character.isspace():
        return "\n" if character in "\u2028\u2029" else " "
    return unicodedata.normalize("NFKC", character).casefold()


_LEET = str.maketrans("431057@$!|", "aeiostasil")


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


def _spaced(plain: Derived) -> Iterator[View]:
    """Words written one letter at a time ("i g n o r e"), with the gaps inside them closed."""
    text = plain.text
    if _pattern(r"(?:\b\w[ .\-_*/|]){2,}\w\b").search(text) is None:
        return
    kept = np.flatnonzero(~_gaps(text))
    pieces = Pieces()
    # Stretches stand for themselves as a whole: one piece a letter would cost more than all the rest.
    for at in range(0, kept.size, _SPACED_PIECE):
        part = kept[at : at + _SPACED_PIECE]
        start, end = int(part[0]), int(part[-1]) + 1
        letters = text[start:end] if end - start == part.size else "".join([text[place] for place in part.tolist()])
        pieces.add(letters, start=start, end=end)
    closed = pieces.derived(plain)
    is_most = len(text) - len(closed.text) > len(text) // 6
    yield View(name="spaced", derived=closed, reads_like_language=is_most)


def _gaps(text: str) -> npt.NDArray[np.bool_]:
    """Where a sign stands between two letters that each stand alone, at least twice in a row."""
    codes = np.frombuffer(f"  {text}  ".encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    is_word = _WORDS[np.minimum(codes, 128)]
    is_sign = _GAP_SIGNS[np.minimum(codes, 128)]
    alone = is_word.copy()
    alone[1:-1] &= ~is_word[:-2] & ~is_word[2:]
    gap = np.zeros(codes.size, dtype=bool)
    gap[1:-1] = is_sign[1:-1] & alone[:-2] & alone[2:]
    again = np.zeros(codes.size, dtype=bool)
    again[2:] = gap[:-2]
    again[:-2] |= gap[2:]
    return (gap & again)[2:-2]


def _hidden_tags(original: str) -> Iterator[View]:
    source = Derived(text=original)
    for match in islice(_pattern(r"[\x{E0020}-\x{E007E}]{4,}").finditer(original), _MOST_RUNS):
        text = "".join(chr(ord(character) - 0xE0000) for character in match.group()).lower()
        pieces = Pieces()
        pieces.add(text, start=match.start(), end=match.end())
        yield View(name="tag characters", derived=pieces.derived(source))


def _decoded(source: Derived, *, depth: int, budget: int) -> Iterator[View]:
    """What encoded runs of the text say, and what encoded runs of that say, down to `depth`."""
    if depth == 0:
        return
    for name, pattern, decode in _CODES:
        for match in islice(_pattern(pattern).finditer(source.text), _MOST_RUNS):
            text = decode(_bounded(match.group()))
            if text is None or len(text) > budget:
                continue
            budget -= len(text)
            pieces = Pieces()
            pieces.add(text, start=match.start(), end=match.end(), is_copy=False)
            derived = pieces.derived(source)
            folded = _folded(derived)
            yield View(name=name, derived=folded)
            yield View(name=f"{name}, rot13", derived=Derived(text=codecs.encode(folded.text, "rot13"), source=folded))
            yield from _decoded(derived, depth=depth - 1, budget=budget)


def _bounded(run: str) -> str:
    if len(run) <= 2 * _RUN_END:
        return run
    # What is left out between is a multiple of twelve, so that groups of two, three and four stay whole.
    return run[:_RUN_END] + run[len(run) // 12 * 12 - _RUN_END :]


def _from_base64(run: str) -> str | None:
    compact = "".join(run.split()).rstrip("=").translate(str.maketrans("-_", "+/"))
    compact = compact[: len(compact) - (len(compact) % 4 == 1)]
    try:
        return _readable(base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True))
    except binascii.Error:
        return None


def _from_hex(run: str) -> str | None:
    digits = run.lower().replace("0x", "").replace("\\x", "")
    digits = "".join(character for character in digits if character in "0123456789abcdef")
    return _readable(bytes.fromhex(digits[: len(digits) // 2 * 2]))


def _from_percent(run: str) -> str | None:
    return unquote(run, errors="replace")


def _from_entities(run: str) -> str | None:
    return unescape(run)


def _readable(data: bytes) -> str | None:
    """The bytes as text, when they are UTF-8 and nearly all printable."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    printable = sum(character.isprintable() or character in "\n\t\r" for character in text)
    return text if printable >= 0.9 * len(text) else None


# A dot matches no newline; a run with what surrounds it on its line keeps words that are only partly encoded together.
_CODES: tuple[tuple[str, str, Callable[[str], str | None]], ...] = (
    ("base64", r"[A-Za-z0-9+/_-]{16,}(?:\s{1,2}[A-Za-z0-9+/_-]{60,})*={0,2}", _from_base64),
    ("hex", r"(?:(?:0x|\\x)?[0-9A-Fa-f]{2}[ ,:]?){12,}", _from_hex),
    ("percent encoding", r"[^\s]*(?:%[0-9A-Fa-f]{2}[^\s%]*){3,}", _from_percent),
    ("HTML entities", r".*(?:&(?:#[0-9]{2,7}|#[xX][0-9A-Fa-f]{2,6}|[a-z]{2,8});.*){3,}", _from_entities),
)


@cache
def _pattern(pattern: str) -> re2._Regexp:
    return re2.compile(pattern)
