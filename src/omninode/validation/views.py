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

import re2

from omninode.validation.origin import Derived, Pieces

__all__ = ["View", "views"]

_DEPTH = 2
_MOST_RUNS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One reading of a text, in lower case; `name` says how it was made ("text" for the plain one)."""

    name: str
    derived: Derived


def views(cleaned: Derived, *, original: str) -> Iterator[View]:
    """Every reading of the cleaned text, the plain one first. Hidden tag characters are read from the original."""
    plain = _folded(cleaned)
    yield View(name="text", derived=plain)
    yield from _disguises(plain)
    if not original.isascii():
        yield from _hidden_tags(original)
    yield from _decoded(cleaned, depth=_DEPTH, budget=2 * len(cleaned.text))


def _disguises(plain: Derived) -> Iterator[View]:
    text = plain.text
    if not text.isascii():
        latin = text.translate(_looks_like())
        if latin != text:
            yield View(name="look-alikes", derived=Derived(text=latin, source=plain))
        text = latin
    leet = text.translate(_LEET)
    if leet != text:
        yield View(name="leet", derived=Derived(text=leet, source=plain))
    yield from _spaced(plain)
    yield View(name="rot13", derived=Derived(text=codecs.encode(plain.text, "rot13"), source=plain))
    backwards = Pieces()
    backwards.add(plain.text[::-1], start=0, end=len(plain.text), is_copy=False)
    yield View(name="reversed", derived=backwards.derived(plain))


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
    alikes = tomllib.loads(files(__package__).joinpath("look_alikes.toml").read_text(encoding="utf-8"))
    table = {ord(alike): letter for letter, several in alikes.items() for alike in several}
    for code in (*range(0xC0, 0x250), *range(0x1E00, 0x1F00)):
        letter = unicodedata.normalize("NFD", chr(code))[0]
        if letter.isascii():
            table.setdefault(code, letter)
    return table


def _spaced(plain: Derived) -> Iterator[View]:
    """Words written one letter at a time ("i g n o r e"), with the gaps inside them closed."""
    text, pieces, done = plain.text, Pieces(), 0
    for match in _pattern(r"(?:\b\w[ .\-_*/|]){2,}\w\b").finditer(text):
        start, end = match.span()
        pieces.add(text[done:start], start=done, end=start)
        for place in range(start, end, 2):
            pieces.add(text[place], start=place, end=place + 1)
        done = end
    if done:
        pieces.add(text[done:], start=done, end=len(text))
        yield View(name="spaced", derived=pieces.derived(plain))


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
            text = decode(match.group())
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
