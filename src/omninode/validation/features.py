"""Where in a text which n-grams stand, as bucket numbers: what the injection model is trained on and scored with.

Training and scoring call the same functions, so a text means the same to both. Everything is array work on code
points: no loop over characters or words, and a position in the arrays leads back to a position in the text.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["BUCKETS", "Grams", "grams"]

_BITS = 18
BUCKETS = 2 << _BITS
_CHARACTER_SIZES = (3, 4, 5)

# Odd 64-bit constants; products wrap around, which is what makes them hashes.
_STEP = np.uint64(0x100000001B3)
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xBF58476D1CE4E5B9)
_SHIFT = np.uint64(64 - _BITS)
_HALF = np.uint64(31)

_NOTHING, _WORD, _SIGN = 0, 1, 2
_SPACE, _ZERO = 32, 48


def _kinds() -> npt.NDArray[np.uint8]:
    kinds = np.full(129, _SIGN, dtype=np.uint8)
    kinds[: _SPACE + 1] = _NOTHING
    for code in range(_SPACE, 128):
        if chr(code).isalnum() or code == ord("_"):
            kinds[code] = _WORD
    # Beyond ASCII everything counts as part of a word; the character n-grams tell the rest apart.
    kinds[128] = _WORD
    return kinds


_KINDS = _kinds()


@dataclass(frozen=True, slots=True, kw_only=True)
class Grams:
    """The n-grams of one text, at what is left of it: white space is one space, a digit is a zero, runs are cut to 3.

    `places[i]` is where in the text what is left at `i` stands. `characters[n]` holds the bucket of the n-gram that
    starts at each `i`; `tokens` are the `i` at which a word or sign starts, and `words[n]` the buckets from there.
    """

    places: npt.NDArray[np.intp]
    characters: tuple[npt.NDArray[np.uint32], ...]
    tokens: npt.NDArray[np.intp]
    words: tuple[npt.NDArray[np.uint32], ...]


def grams(text: str) -> Grams:
    """The n-grams of `text`, which is folded already: characters by three to five, words by one to three."""
    codes, places = _reduced(text)
    tokens, words = _words(codes)
    return Grams(places=places, characters=_characters(codes), tokens=tokens, words=words)


def _reduced(text: str) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.intp]]:
    codes = np.frombuffer(f" {text} ".encode("utf-32-le", "surrogatepass"), dtype=np.uint32).copy()
    codes[codes <= _SPACE] = _SPACE
    codes[(codes >= _ZERO) & (codes <= _ZERO + 9)] = _ZERO
    same = codes[1:] == codes[:-1]
    dropped = np.zeros(codes.size, dtype=bool)
    dropped[1:] = same & (codes[1:] == _SPACE)
    dropped[3:] |= same[2:] & same[1:-1] & same[:-2]
    kept = np.flatnonzero(~dropped)
    # The first place is the space put in front.
    return codes[kept], np.clip(kept - 1, 0, max(0, len(text) - 1))


def _characters(codes: npt.NDArray[np.uint32]) -> tuple[npt.NDArray[np.uint32], ...]:
    wide = codes.astype(np.uint64)
    found, rolling = [], wide
    for size in range(2, _CHARACTER_SIZES[-1] + 1):
        rolling = rolling[:-1] * _STEP + wide[size - 1 :]
        if size in _CHARACTER_SIZES:
            found.append(_buckets(rolling, size))
    return tuple(found)


def _words(codes: npt.NDArray[np.uint32]) -> tuple[npt.NDArray[np.intp], tuple[npt.NDArray[np.uint32], ...]]:
    kinds = _KINDS[np.minimum(codes, 128)]
    is_start = kinds == _SIGN
    is_start[1:] |= (kinds[1:] == _WORD) & (kinds[:-1] != _WORD)
    tokens = np.flatnonzero(is_start)
    if tokens.size == 0:
        return tokens, ()
    # A word is the sum of its letters, each mixed with its place in the word.
    place = np.arange(codes.size) - tokens[np.maximum(np.cumsum(is_start) - 1, 0)]
    mixed = (codes + place.astype(np.uint64) * _STEP) * _SPREAD
    mixed = (mixed ^ (mixed >> _HALF)) * _MIX
    mixed[kinds == _NOTHING] = 0
    single = np.add.reduceat(mixed, tokens)
    found, rolling = [_buckets(single, 1)], single
    for size in (2, 3):
        rolling = rolling[:-1] * _STEP + single[size - 1 :]
        found.append(_buckets(rolling, size))
    half = np.uint32(1 << _BITS)
    return tokens, tuple(buckets + half for buckets in found)


def _buckets(hashes: npt.NDArray[np.uint64], size: int) -> npt.NDArray[np.uint32]:
    return ((hashes + np.uint64(size)) * _SPREAD >> _SHIFT).astype(np.uint32)
