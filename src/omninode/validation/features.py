"""Where in a text which n-grams stand, as bucket numbers: what the injection model is trained on and scored with.

Training and scoring call the same functions, so a text means the same to both. Everything is array work on code
points: no loop over characters or words, and a position in the arrays leads back to a position in the text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import accumulate

import numpy as np
import numpy.typing as npt

__all__ = ["BUCKETS", "CONCEPTS_FROM", "NOTHING", "WORDS_FROM", "Concepts", "Grams", "grams", "no_concepts", "word_at"]

_BITS, _CONCEPT_BITS = 18, 14
WORDS_FROM = 1 << _BITS
CONCEPTS_FROM = 2 << _BITS
BUCKETS = CONCEPTS_FROM + (1 << _CONCEPT_BITS)
NOTHING = BUCKETS
"""Stands where no n-gram of that size begins; one beyond the last bucket."""

_CHARACTER_SIZES = (3, 4, 5)
_WORD_SIZES = (1, 2, 3)
_CONCEPT_SIZES = (1, 2, 3, 4)
# Concepts with more words between them have nothing to do with each other.
_GAP = 5

# Odd 64-bit constants; products wrap around, which is what makes them hashes.
_STEP = 0x100000001B3
_WRAP = 1 << 64
_SPREADING = 0x9E3779B97F4A7C15
_WORD_STEP, _SPREAD, _SHIFT = np.uint64(_STEP), np.uint64(_SPREADING), np.uint64(64 - _BITS)
# Binary digits of the number of a concept.
_CONCEPT_DIGITS = 5

_NO_WORD, _WORD, _SIGN = 0, 1, 2
_SPACE, _ZERO = 32, 48

_Hashes = npt.NDArray[np.uint64]
_Codes = npt.NDArray[np.uint8] | npt.NDArray[np.uint32]
Concepts = npt.NDArray[np.uint8]
"""The concept of each word by its bucket (from 1 to 31; 0 for words of none): see `word_at`."""


def _kinds() -> npt.NDArray[np.uint8]:
    kinds = np.full(129, _SIGN, dtype=np.uint8)
    kinds[: _SPACE + 1] = _NO_WORD
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

    `size` is how many characters are left. `tokens` and `marks` are those at which a word or sign starts, and a word that
    has a concept. `buckets` has the buckets of all n-grams, one size after another: first those of characters, then of
    words, then of concepts, with NOTHING where the next concept is too far.
    """

    size: int
    tokens: npt.NDArray[np.intp]
    marks: npt.NDArray[np.intp]
    buckets: npt.NDArray[np.intp]
    kept: npt.NDArray[np.intp] | None
    length: int

    @property
    def places(self) -> npt.NDArray[np.intp]:
        """Where in the text what is left stands."""
        places = np.arange(self.size) if self.kept is None else self.kept.copy()
        places -= 1
        # The first is the space put in front, the last the one put behind.
        places[0], places[-1] = 0, max(0, min(int(places[-1]), self.length - 1))
        return places

    @property
    def characters(self) -> list[npt.NDArray[np.intp]]:
        """The buckets by the place where the n-gram starts, for each size."""
        return self._rows()[: len(_CHARACTER_SIZES)]

    @property
    def words(self) -> list[npt.NDArray[np.intp]]:
        """The same by the number of the word."""
        return self._rows()[len(_CHARACTER_SIZES) : -len(_CONCEPT_SIZES)]

    @property
    def concepts(self) -> list[npt.NDArray[np.intp]]:
        """The same by the number of the word with a concept, as long for every size."""
        return self._rows()[-len(_CONCEPT_SIZES) :]

    def _rows(self) -> list[npt.NDArray[np.intp]]:
        counts = [max(0, self.size - size + 1) for size in _CHARACTER_SIZES]
        counts += [max(0, self.tokens.size - size + 1) for size in _WORD_SIZES]
        counts += [self.marks.size] * len(_CONCEPT_SIZES)
        ends = list(accumulate(counts))
        return [self.buckets[end - count : end] for count, end in zip(counts, ends, strict=True)]


def grams(text: str, *, concepts: Concepts) -> Grams:
    """The n-grams of `text`, which is folded already: 3 to 5 characters, 1 to 3 words, 1 to 4 concepts.

    A word stands for a concept whatever its language; n-grams of concepts leave out the words between them.
    """
    codes, kept = _reduced(text)
    starts, ends = _tokens(codes)
    powers, inverse = _powers(codes.size.bit_length())
    # The hash of a stretch is the difference of two sums, with the power of its place taken out.
    sums = np.zeros(codes.size + 1, dtype=np.uint64)
    (codes * powers[: codes.size]).cumsum(out=sums[1:])
    single = (sums.take(ends) - sums.take(starts)) * inverse.take(starts)
    words = np.concatenate((single, *_followed(single)))
    words *= _SPREAD
    hashes = np.concatenate((*_stretches(sums, inverse), words))
    hashes >>= _SHIFT
    buckets = hashes.view(np.intp)
    of_words = buckets[hashes.size - words.size :]
    known = concepts.take(of_words[: single.size])
    of_words += WORDS_FROM
    marked = known.nonzero()[0]
    return Grams(
        size=codes.size,
        tokens=starts,
        marks=starts.take(marked),
        buckets=np.concatenate(
            (buckets, np.array(_of_concepts(known.take(marked).tolist(), marked.tolist()), dtype=np.intp))
        ),
        kept=kept,
        length=len(text),
    )


def no_concepts() -> Concepts:
    """A table in which no word has a concept."""
    return np.zeros(WORDS_FROM, dtype=np.uint8)


def word_at(word: str) -> int | None:
    """Where in a table of concepts the folded `word` stands; None when it is not one word to the model."""
    found = grams(word, concepts=no_concepts())
    return int(found.words[0][0]) - WORDS_FROM if found.tokens.size == 1 else None


_ASCII = bytes(_SPACE if code <= _SPACE else _ZERO if chr(code).isdecimal() else code for code in range(128)) + bytes(
    128
)
_RUNS = [bytes((code,)) * (2 if code == _SPACE else 4) for code in range(128)]


def _reduced(text: str) -> tuple[_Codes, npt.NDArray[np.intp] | None]:
    """What is left of the text with a space before and behind, and which of it that is; None for all."""
    codes: _Codes
    if text.isascii():
        left = b" %b " % text.encode("ascii").translate(_ASCII)
        codes = np.frombuffer(left, dtype=np.uint8)
        if not any(_RUNS[code] in left for code in set(left)):
            return codes, None
    else:
        codes = np.frombuffer(f" {text} ".encode("utf-32-le", "surrogatepass"), dtype=np.uint32).copy()
        codes[codes <= _SPACE] = _SPACE
        # What is below zero wraps around to above.
        codes[codes - np.uint32(_ZERO) < 10] = _ZERO
    same = codes[1:] == codes[:-1]
    dropped = same & (codes[1:] == _SPACE)
    dropped[2:] |= same[2:] & same[1:-1] & same[:-2]
    kept = np.append(True, ~dropped).nonzero()[0]
    return codes.take(kept), kept


@cache
def _powers(bits: int) -> tuple[_Hashes, _Hashes]:
    """The powers of the step for texts of up to 2^bits characters, and their inverses times the last factor of a hash."""
    size = (1 << bits) + 1
    powers, inverse = np.full(size, _STEP, dtype=np.uint64), np.full(size, pow(_STEP, -1, _WRAP), dtype=np.uint64)
    powers[0], inverse[0] = 1, _SPREAD
    return np.multiply.accumulate(powers), np.multiply.accumulate(inverse)


def _tokens(codes: _Codes) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Where words and signs start, and behind what they end."""
    kinds = _KINDS.take(codes, mode="clip")
    borders = kinds[1:] * np.uint8(3)
    borders += kinds[:-1]
    # Text begins and ends with a space.
    starts, ends = _STARTS.take(borders).nonzero()[0], _ENDS.take(borders).nonzero()[0]
    starts += 1
    ends += 1
    return starts, ends


# By the kind of a character and three times that of the one behind it.
_STARTS = np.array(
    [after == _SIGN or (after == _WORD and before != _WORD) for after in range(3) for before in range(3)]
)
_ENDS = np.array([before == _SIGN or (before == _WORD and after != _WORD) for after in range(3) for before in range(3)])


def _stretches(sums: _Hashes, inverse: _Hashes) -> Iterator[_Hashes]:
    """The hashes of all stretches of characters, for every size."""
    for size in _CHARACTER_SIZES:
        count = max(0, sums.size - size)
        yield (sums[size:] - sums[:count]) * inverse[:count]


def _followed(single: _Hashes) -> list[_Hashes]:
    """The hashes of each word with the next ones, for every size above one."""
    found = []
    rolling = single
    for size in _WORD_SIZES[1:]:
        rolling = rolling[:-1] * _WORD_STEP + single[size - 1 :]
        found.append(rolling)
    return found


def _of_concepts(known: list[int], order: list[int]) -> list[int]:
    """The buckets of concepts, which stand at the words numbered `order`; none spans a gap that is too wide.

    A loop: a prompt has some ten of them, for which arrays cost more than they save.
    """
    count, longest = len(known), len(_CONCEPT_SIZES)
    buckets = [NOTHING] * (count * longest)
    for first in range(count):
        number, before = 0, order[first]
        for further in range(min(longest, count - first)):
            here = order[first + further]
            if here - before > _GAP:
                break
            number, before = number << _CONCEPT_DIGITS | known[first + further], here
            buckets[further * count + first] = CONCEPTS_FROM + (number * _SPREADING % _WRAP >> 64 - _CONCEPT_BITS)
    return buckets
