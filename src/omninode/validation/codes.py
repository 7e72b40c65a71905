"""Encoded runs in a text and what they say: base64, hexadecimal, escapes, character codes, Morse, tag characters.

A run that was itself turned (backwards, rot13) is told by how it decodes. What is decoded of one run is bounded, and so
is the number of runs.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from html import unescape
from itertools import islice
from urllib.parse import unquote

import re2

from omninode.validation.origin import Derived, Pieces
from omninode.validation.patterns import automaton, compiled
from omninode.validation.turned import TURNS

__all__ = ["ENCODED", "MORSE", "decoded", "hidden_tags"]

# Of one encoded run so much is decoded from its head and as much from its tail; multiples of what any code groups by.
_RUN_END = 6_000
_MOST_RUNS = 32
# So much of a run tells which way round it was written.
_SAMPLE = 120
_ESCAPES = 3
_HEX_DIGITS = frozenset("0123456789abcdef")


def decoded(source: Derived) -> Iterator[tuple[str, Derived]]:
    """What the encoded runs of `source` say, all those of one code together, with the name of the code."""
    for index in sorted(_anchors().Match(source.text) or ()):
        code = _CODES[index]
        pieces, done = Pieces(), 0
        for match in islice(compiled(code.pattern).finditer(source.text), _MOST_RUNS):
            text = code.decode(_bounded(match.group()))
            if text is None:
                continue
            if done:
                pieces.add("\n", start=done, end=match.start(), is_copy=False)
            pieces.add(text, start=match.start(), end=match.end(), is_copy=False)
            done = match.end()
        if done:
            yield code.name, pieces.derived(source)


def hidden_tags(source: Derived) -> Derived | None:
    """What tag characters in `source` spell; None when there are too few to spell anything."""
    if source.text.isascii():
        return None
    pieces, done = Pieces(), 0
    for match in islice(compiled(_TAG_RUN).finditer(source.text), _MOST_RUNS):
        text = "".join(chr(ord(tag) - 0xE0000) for tag in _bounded(match.group()) if ord(tag) > 0xE0000)
        if done:
            pieces.add("\n", start=done, end=match.start(), is_copy=False)
        pieces.add(text, start=match.start(), end=match.end())
        done = match.end()
    return pieces.derived(source) if done else None


def _bounded(run: str) -> str:
    if len(run) <= 2 * _RUN_END:
        return run
    # What is left out between is a multiple of twelve, so that groups of two, three and four stay whole.
    return run[:_RUN_END] + run[len(run) // 12 * 12 - _RUN_END :]


def _ways(run: str) -> Iterator[str]:
    """The run as it is, then as it is when turned."""
    yield run
    for turn in TURNS.values():
        yield turn(run)


def _from_base64(run: str) -> str | None:
    compact = "".join(run.split()).strip("=").replace("-", "+").replace("_", "/")
    return next((text for way in _ways(compact) if (text := _unpacked(way)) is not None), None)


def _unpacked(compact: str) -> str | None:
    compact = compact[: len(compact) - (len(compact) % 4 == 1)]
    try:
        return _readable(base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True))
    except binascii.Error:
        return None


def _from_hex(run: str) -> str | None:
    digits = run.lower().replace("0x", "").replace("\\x", "")
    for way in _ways(digits):
        pairs = "".join(character for character in way if character in _HEX_DIGITS)
        if 2 * len(pairs) > len(way) and (text := _readable(bytes.fromhex(pairs[: len(pairs) // 2 * 2]))) is not None:
            return text
    return None


def _from_percent(run: str) -> str | None:
    way = _likeliest(run, r"%[0-9A-Fa-f]{2}")
    return None if way is None else unquote(way, errors="replace")


def _from_entities(run: str) -> str | None:
    way = _likeliest(run, r"&(?:#[0-9]{2,7}|#[xX][0-9A-Fa-f]{2,6}|[a-z]{2,8});")
    return None if way is None else unescape(way)


def _from_base32(run: str) -> str | None:
    compact = "".join(run.split()).strip("=")
    try:
        return _readable(base64.b32decode(compact + "=" * (-len(compact) % 8)))
    except binascii.Error:
        return None


def _from_escapes(run: str) -> str | None:
    codes = [int(code, 16) for code in compiled(r"[0-9A-Fa-f]{4,6}").findall(run)]
    return "".join(map(chr, codes)) if all(code < 0xD800 or 0xE000 <= code <= 0x10FFFF for code in codes) else None


def _from_numbers(run: str) -> str | None:
    """Characters by their numbers, in whichever base makes most of them letters; None when hardly any are."""
    numbers = compiled("[0-9A-Fa-f]+").findall(run)
    said = ["".join(map(chr, codes)) for base in _BASES if (codes := _in_base(numbers, base)) is not None]
    best = max(said, key=_share_of_letters, default="")
    return best if _share_of_letters(best) >= _MOSTLY_LETTERS else None


def _in_base(numbers: list[str], base: int) -> list[int] | None:
    try:
        codes = [int(number, base) for number in numbers]
    except ValueError:
        return None
    return codes if max(codes) < 128 else None


def _share_of_letters(text: str) -> float:
    return sum(map(_is_said, text)) / len(text) if text else 0.0


def _is_said(character: str) -> bool:
    return character.isalpha() or character in " .,'"


def _from_morse(run: str) -> str:
    """Letters stand between spaces, words between strokes or wider gaps; a sign that is none is a question mark."""
    plain = run.lstrip(_BEFORE_MORSE).translate(_MORSE_SIGNS)
    words = compiled(r"\s*[/|]\s*|\s{2,}").split(plain)
    return " ".join("".join(_MORSE.get(letter, "?") for letter in word.split()) for word in words)


def _likeliest(run: str, escape: str) -> str | None:
    """The run turned the way in which its head or tail has most escapes; None when it has hardly any."""
    sample = run if len(run) <= 2 * _SAMPLE else run[:_SAMPLE] + run[-_SAMPLE:]
    counts = [len(compiled(escape).findall(way)) for way in _ways(sample)]
    most = max(counts)
    return None if most < _ESCAPES else next(islice(_ways(run), counts.index(most), None))


def _readable(data: bytes) -> str | None:
    """The bytes as text, when they are UTF-8 and nearly all printable."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    if text.isprintable():
        return text
    shown = sum(text.count(character) for character in set(text) if _is_shown(character))
    return text if shown >= 0.9 * len(text) else None


def _is_shown(character: str) -> bool:
    # Tag characters are not printable, and yet spell something.
    return character.isprintable() or character in "\n\t\r" or 0xE0020 <= ord(character) <= 0xE007E


@dataclass(frozen=True, slots=True, kw_only=True)
class _Code:
    """One way to encode: `anchor` is in every text with such a run, `pattern` is the run."""

    name: str
    anchor: str
    pattern: str
    decode: Callable[[str], str | None]


_TAG_RUN = r"[\x{E0020}-\x{E007E}](?:[ \n\t]{0,2}[\x{E0020}-\x{E007E}]){3,}"
# As written forwards, backwards, and either with letters turned by thirteen places.
_ENTITY = (
    r"(?:&(?:#[0-9]{2,7}|#[xXkK][0-9A-Fa-fN-Sn-s]{2,6}|[a-z]{2,8});"
    r"|;(?:[0-9]{2,7}#|[0-9A-Fa-fN-Sn-s]{2,6}[xXkK]#|[a-z]{2,8})&)"
)
_HEX = r"(?:(?:0x|\\x)?[0-9A-Fa-f]{2}[ ,:]?){12,}|(?:[0-9N-Sn-s]{2}[ ,:]?){12,}"
_ESCAPE = r"(?:\\u\{?|U\+)[0-9A-Fa-f]{4,6}\}?"
_NUMBER = "(?:[0-9]{2,8}|00[0-9A-Fa-f]{2})"
_NUMBERS = rf"\b{_NUMBER}(?:[ ,;]{{1,2}}{_NUMBER}){{11,}}\b"
_BASES, _MOSTLY_LETTERS = (2, 8, 10, 16), 0.8
# The International Morse Code (Recommendation ITU-R M.1677-1), letters, figures and the commonest stops.
_MORSE_CODES = (
    ".- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. -- -. --- .--. --.- .-. ... - ..- ...- .-- -..- -.-- --.. "
    "----- .---- ..--- ...-- ....- ..... -.... --... ---.. ----. .-.-.- --..-- ..--.. .----."
)
_MORSE = dict(zip(_MORSE_CODES.split(), "abcdefghijklmnopqrstuvwxyz0123456789.,?'", strict=True))
_DOTS, _DASHES = "\u00b7\u2022", "\u2212\u2013\u2014_"
_MORSE_SIGNS = str.maketrans(_DOTS + _DASHES, "." * len(_DOTS) + "-" * len(_DASHES))
_MORSE_LETTER = f"[.{_DOTS}{_DASHES}-]{{1,6}}"
_BEFORE_MORSE = " \t\n\"'`(:"
MORSE = rf"(?:^|[{_BEFORE_MORSE}]){_MORSE_LETTER}(?:[ \n]{{1,4}}(?:[/|][ \n]{{1,4}})?{_MORSE_LETTER}){{5,}}"
"""The pattern of a run of six letters or more in Morse code."""
# A dot matches no newline; a run with what surrounds it on its line keeps words that are only partly encoded together.
_CODES = (
    _Code(
        name="base64",
        anchor=r"[A-Za-z0-9+/_-]{16}",
        pattern=r"={0,2}[A-Za-z0-9+/_-]{16,}(?:\s{1,2}[A-Za-z0-9+/_-]{60,})*={0,2}",
        decode=_from_base64,
    ),
    _Code(name="hex", anchor=_HEX.replace(",}", "}"), pattern=_HEX, decode=_from_hex),
    _Code(
        name="percent encoding",
        anchor=r"%\S*%\S*%",
        pattern=r"\S*(?:%[^\s%]*){3,}",
        decode=_from_percent,
    ),
    _Code(
        name="HTML entities",
        anchor=_ENTITY,
        pattern=rf".*(?:{_ENTITY}.*){{3,}}",
        decode=_from_entities,
    ),
    _Code(name="base32", anchor="[A-Z2-7]{16}", pattern="[A-Z2-7]{16,}={0,6}", decode=_from_base32),
    _Code(name="escapes", anchor=_ESCAPE, pattern=rf"(?:{_ESCAPE}\s?){{3,}}", decode=_from_escapes),
    _Code(name="character codes", anchor=_NUMBERS.replace("{11,}", "{11}"), pattern=_NUMBERS, decode=_from_numbers),
    _Code(name="Morse", anchor=MORSE.replace("{5,}", "{5}"), pattern=MORSE, decode=_from_morse),
)


ENCODED = tuple(code.anchor for code in _CODES)
"""Patterns of which at least one is in every text with an encoded run, but for tag characters."""


@cache
def _anchors() -> re2.Set:
    return automaton(ENCODED)
