"""Where in a text which n-grams stand, as bucket numbers: what the injection model is trained on and scored with.

Training and scoring call the same functions, so a text means the same to both. Everything is array work on code
points: no loop over characters or words, and a position in the arrays leads back to a position in the text.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import re2

from omninode.validation.patterns import compiled

__all__ = [
    "BUCKETS",
    "CONCEPTS_FROM",
    "NOTHING",
    "WORDS_FROM",
    "Concepts",
    "Grams",
    "grams",
    "no_concepts",
    "word_at",
    "words_of",
]

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
# Binary digits of the number of a concept.
_DIGITS = 5
# Arrays, as a scalar has to be made one at every use.
_WORD_STEP, _SPREAD, _SHIFT, _CONCEPT_SHIFT, _CONCEPT_DIGITS = (
    np.array(number, dtype=np.uint64) for number in (_STEP, _SPREADING, 64 - _BITS, 64 - _CONCEPT_BITS, _DIGITS)
)
_TWO_BYTES = np.dtype("<u2")
# Up to so many concepts are put together one by one.
_FEW = 16

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
_KIND_BYTES = _KINDS[:128].tobytes() + bytes(128)


class Grams(NamedTuple):
    """The n-grams of one text, at what is left of it: white space is one space, a digit is a zero, runs are cut to 3.

    `size` is how many characters are left. `tokens` and `marks` are those at which a word or sign starts, and a word that
    has a concept. `buckets` has the buckets of all n-grams, one size after another: first those of characters, then of
    words, then of concepts, with NOTHING where one would reach over the end or the next concept is too far.
    """

    text: str
    size: int
    tokens: npt.NDArray[np.intp]
    marks: npt.NDArray[np.intp]
    buckets: npt.NDArray[np.intp]

    @property
    def places(self) -> npt.NDArray[np.intp]:
        """Where in the text what is left stands."""
        places = _is_kept(_codes(self.text)).nonzero()[0]
        places -= 1
        # The first is the space put in front, the last the one put behind.
        places[0], places[-1] = 0, max(0, min(int(places[-1]), len(self.text) - 1))
        return places

    @property
    def words_at(self) -> npt.NDArray[np.intp]:
        """The `tokens` that are words, and no signs."""
        is_word = _KINDS.take(_reduced(self.text)[self.tokens], mode="clip") == _WORD
        return self.tokens.compress(is_word)

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
        counts = [max(0, self.size - _CHARACTER_SIZES[0] + 1)] * len(_CHARACTER_SIZES)
        counts += [max(0, self.tokens.size - size + 1) for size in _WORD_SIZES]
        counts += [self.marks.size] * len(_CONCEPT_SIZES)
        ends = list(accumulate(counts))
        return [self.buckets[end - count : end] for count, end in zip(counts, ends, strict=True)]


def grams(text: str, *, concepts: Concepts) -> Grams:
    """The n-grams of `text`, which is folded already: 3 to 5 characters, 1 to 3 words, 1 to 4 concepts.

    A word stands for a concept whatever its language; n-grams of concepts leave out the words between them.
    """
    codes = _reduced(text)
    starts, ends = _tokens(codes)
    sums, inverse = _sums(codes)
    rows, row, count = len(_CHARACTER_SIZES), max(0, codes.size - _CHARACTER_SIZES[0] + 1), starts.size
    hashes = np.empty(rows * row + count + max(0, count - 1) + max(0, count - 2), dtype=np.uint64)
    characters, words = hashes[: rows * row].reshape(rows, row), hashes[rows * row :]
    # The hash of a stretch is the difference of two sums, with the power of its place taken out.
    np.subtract(_later(sums, rows, row), sums[:row], out=characters)
    characters *= inverse[:row]
    single = words[:count]
    np.subtract(sums[ends], sums[starts], out=single)
    single *= inverse[starts]
    _follow(single, words)
    words *= _SPREAD
    hashes >>= _SHIFT
    buckets = hashes.view(np.intp)
    if row:
        # The last of 4 characters and the last two of 5 would reach over the end.
        buckets[2 * row - 1] = buckets[3 * row - 2] = buckets[3 * row - 1] = NOTHING
    of_words = buckets[rows * row :]
    known = concepts[of_words[:count]]
    of_words += WORDS_FROM
    marked = known.nonzero()[0]
    if marked.size:
        buckets = np.concatenate((buckets, _of_concepts(known[marked], marked)))
    return Grams(text, codes.size, starts, starts[marked], buckets)


def no_concepts() -> Concepts:
    """A table in which no word has a concept."""
    return np.zeros(WORDS_FROM, dtype=np.uint8)


def word_at(word: str) -> int | None:
    """Where in a table of concepts the folded `word` stands; None when it is not one word to the model."""
    found = grams(word, concepts=no_concepts())
    return int(found.words[0][0]) - WORDS_FROM if found.tokens.size == 1 else None


_READ_AS = [_SPACE if code <= _SPACE else _ZERO if chr(code).isdecimal() else code for code in range(128)]
_ASCII = bytes(_READ_AS) + bytes(128)
_WORDS = {code: chr(read) if _KINDS[read] == _WORD else " " for code, read in enumerate(_READ_AS)}
_WORD_BYTES = "".join(_WORDS.values()).encode("ascii") + bytes(128)
# What is cut short, beside white space.
_RUNS = "|".join(re2.escape(chr(code) * 4) for code in range(_SPACE + 1, 128))


def words_of(text: str) -> list[str]:
    """The words of the folded text, as `grams` finds them but for runs that it cuts short."""
    if text.isascii():
        # The same, in a third of the time.
        return text.encode("ascii").translate(_WORD_BYTES).decode("ascii").split()
    return text.translate(_WORDS).split()


def _reduced(text: str) -> _Codes:
    """What is left of the text, with a space before and behind."""
    if not text.isascii():
        codes = _codes(text)
        return codes[_is_kept(codes)]
    left = _read_as(text)
    # Of all runs most are these, and those of a year.
    for run in (b"  ", b"0000"):
        while run in left:
            left = left.replace(run, run[1:])
    codes = np.frombuffer(left, dtype=np.uint8)
    return codes if compiled(_RUNS).search(left) is None else codes[_is_kept(codes)]


def _read_as(text: str) -> bytes:
    return b" %b " % text.encode("ascii").translate(_ASCII)


def _codes(text: str) -> _Codes:
    """All of the text so, with nothing left out yet."""
    if text.isascii():
        return np.frombuffer(_read_as(text), dtype=np.uint8)
    codes = np.frombuffer(f" {text} ".encode("utf-32-le", "surrogatepass"), dtype=np.uint32).copy()
    codes[codes <= _SPACE] = _SPACE
    # What is below zero wraps around to above.
    codes[codes - np.uint32(_ZERO) < 10] = _ZERO
    return codes


def _is_kept(codes: _Codes) -> npt.NDArray[np.bool_]:
    """Which of them are left when white space is one space and runs are cut to three."""
    same = codes[1:] == codes[:-1]
    is_kept = np.ones(codes.size, dtype=np.bool_)
    further = is_kept[1:]
    further ^= same & (codes[1:] == _SPACE)
    further[2:] &= ~(same[2:] & same[1:-1] & same[:-2])
    return is_kept


@cache
def _powers(bits: int) -> tuple[_Hashes, _Hashes]:
    """The powers of the step for texts of up to 2^bits characters, and their inverses times the last factor of a hash."""
    size = (1 << bits) + 1
    powers, inverse = np.full(size, _STEP, dtype=np.uint64), np.full(size, pow(_STEP, -1, _WRAP), dtype=np.uint64)
    powers[0], inverse[0] = 1, _SPREAD
    return np.multiply.accumulate(powers), np.multiply.accumulate(inverse)


def _tokens(codes: _Codes) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Where words and signs start, and behind what they end."""
    if codes.dtype == np.uint8:
        kinds = codes.tobytes().translate(_KIND_BYTES)
    else:
        kinds = _KINDS.take(codes, mode="clip").tobytes()
    # Each with the one before it, as one number; before and behind the text is no word.
    borders = np.ndarray((codes.size,), dtype=_TWO_BYTES, buffer=b"\0" + kinds, strides=(1,)).astype(np.intp)
    return _STARTS[borders].nonzero()[0], _ENDS[borders].nonzero()[0]


def _at_borders(found: Callable[[int, int], bool]) -> npt.NDArray[np.bool_]:
    """By the kind of a character and 256 times that of the one behind it: what `found` says of the two."""
    table = np.zeros((256, 256), dtype=np.bool_)
    for before in (_NO_WORD, _WORD, _SIGN):
        for after in (_NO_WORD, _WORD, _SIGN):
            table[after, before] = found(before, after)
    return table.ravel()


_STARTS = _at_borders(lambda before, after: after == _SIGN or (after == _WORD and before != _WORD))
_ENDS = _at_borders(lambda before, after: before == _SIGN or (before == _WORD and after != _WORD))


def _sums(codes: _Codes) -> tuple[_Hashes, _Hashes]:
    """The sums of the codes up to each place, each times the power of its place, and the inverses of the powers.

    Behind the last sum stand a few that mean nothing, so that rows of sizes are of one length.
    """
    powers, inverse = _powers(codes.size.bit_length())
    sums = np.zeros(codes.size + 1 + len(_CHARACTER_SIZES), dtype=np.uint64)
    inner = sums[1 : codes.size + 1]
    np.multiply(codes, powers[: codes.size], out=inner)
    np.add.accumulate(inner, out=inner)
    return sums, inverse


def _later(sums: _Hashes, rows: int, row: int) -> _Hashes:
    """The sums at which n-grams end, by the place where they start: a row for each size, a look into `sums`."""
    first, step = _CHARACTER_SIZES[0], sums.itemsize
    return np.ndarray((rows, row), dtype=np.uint64, buffer=sums, offset=first * step, strides=(step, step))


def _follow(single: _Hashes, words: _Hashes) -> None:
    """Put behind the hashes of the words those of each with the next one, and with the next two."""
    at, rolling = single.size, single
    for size in _WORD_SIZES[1:]:
        count = max(0, single.size - size + 1)
        following = words[at : at + count]
        np.multiply(rolling[:count], _WORD_STEP, out=following)
        following += single[size - 1 :]
        at, rolling = at + count, following


def _of_concepts(known: Concepts, order: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """The buckets of concepts, which stand at the words numbered `order`; none spans a gap that is too wide."""
    if order.size <= _FEW:
        return np.array(_of_few_concepts(known.tolist(), order.tolist()), dtype=np.intp)
    # A row for each size; a number of zero stands where there is none.
    numbers = np.zeros((len(_CONCEPT_SIZES), order.size), dtype=np.uint64)
    numbers[0] = known
    near = order[1:] - order[:-1] <= _GAP
    for further in range(1, len(_CONCEPT_SIZES)):
        before = numbers[further - 1, :-further]
        joined = (before << _CONCEPT_DIGITS) + numbers[0, further:]
        joined *= near[further - 1 :] & (before > 0)
        numbers[further, :-further] = joined
    buckets = (numbers * _SPREAD >> _CONCEPT_SHIFT).view(np.intp) + CONCEPTS_FROM
    return np.where(numbers > 0, buckets, NOTHING).ravel()


def _of_few_concepts(known: list[int], order: list[int]) -> list[int]:
    """The same by a loop: a prompt has some ten of them, for which arrays cost more than they save."""
    count, longest = len(known), len(_CONCEPT_SIZES)
    buckets = [NOTHING] * (count * longest)
    for first in range(count):
        number, before = 0, order[first]
        for further in range(min(longest, count - first)):
            here = order[first + further]
            if here - before > _GAP:
                break
            number, before = number << _DIGITS | known[first + further], here
            buckets[further * count + first] = CONCEPTS_FROM + (number * _SPREADING % _WRAP >> 64 - _CONCEPT_BITS)
    return buckets
