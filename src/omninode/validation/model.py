"""The trained injection model: how strongly a text reads as an attack, where, and which n-grams say so.

Two heads over the same n-grams. `direct` reads what a user sends, in windows of 300 characters and as a whole;
`planted` reads material from outside, in short windows, and asks how far the strangest stands out from the rest.
Trained by `tools/train_injection.py`; `docs/model-card-injection.md` says on what and how well it does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from omninode.validation.features import BUCKETS, NOTHING, Concepts, Grams, grams

__all__ = [
    "PRIOR",
    "Facts",
    "Head",
    "Model",
    "Shape",
    "blocks",
    "load",
    "packaged",
    "packaged_file",
    "table",
    "windows",
]

_Floats = npt.NDArray[np.float64]
_Number = TypeVar("_Number", float, _Floats)
_Pairs = npt.NDArray[np.complexfloating[Any, Any]]
# Characters looked at together; bounds the memory and keeps the tables in cache. Blocks overlap by one window.
_BLOCK = 4_000
# Up to here a text is read whole; of a longer one two blocks and so many stretches of this length.
_READ_WHOLE = 24_000
_STRETCHES, _STRETCH = 8, 2_000
# Characters of which the text as a whole is read; what stands further on is read by window only.
WHOLE = 1_500


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How a head cuts a text: the length of a window and from one to the next, in characters left by `grams`."""

    size: int
    step: int


# Added to the squared length of every window, as much as a few characters unlike any seen: so that one word alone says
# little, whichever it is.
PRIOR = 300.0

DIRECT = Shape(size=300, step=150)
PLANTED = Shape(size=120, step=40)


def table(weights: npt.NDArray[np.float32], rarity: npt.NDArray[np.float32]) -> npt.NDArray[np.complex64]:
    """What each bucket adds to a window: its weight, and beside it its squared rarity, so that one look-up gives both.

    The entry for NOTHING adds nothing.
    """
    pairs = np.zeros(BUCKETS + 1, dtype=np.complex64)
    pairs.real[:BUCKETS] = weights
    pairs.imag[:BUCKETS] = rarity * rarity
    pairs[NOTHING] = 0
    return pairs


class Facts(NamedTuple):
    """What a head knows of a text when it has read it, each above zero for an attack but the last.

    The margin of its highest window; by how much that leads over the middle one; the margin of the text as a whole; and
    how many windows had the chance to be the highest, as a natural logarithm.
    """

    highest: float
    lead: float
    whole: float
    looks: float

    @classmethod
    def of(cls, margins: _Floats, *, whole: float) -> Facts:
        """The facts of a text with these windows."""
        if margins.size == 1:
            return cls(float(margins[0]), 0.0, whole, 0.0)
        highest = float(margins.max())
        return cls(highest, highest - float(np.median(margins)), whole, math.log(margins.size))


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """One linear model and how its sums become a score.

    `pairs` is the `table` of what the buckets add; `scale` has the weights of the `Facts` and a shift, which make a log-odds of them;
    `chances` has rising log-odds and beside them how likely an attack is, `rates` the share of ordinary texts that reach
    them; `concepts` says which words mean the same.
    """

    shape: Shape
    pairs: npt.NDArray[np.complex64]
    intercept: float
    scale: tuple[float, float, float, float, float]
    chances: _Floats
    rates: _Floats
    concepts: Concepts

    def facts(self, text: str, *, pause: Callable[[], None] = lambda: None) -> tuple[Facts, tuple[int, int]]:
        """What is known of a folded text, and where its highest window is. `pause` is called between steps."""
        margins: list[_Floats] = []
        read: list[_Read] = []
        whole = 0.0
        # An overlap of one window holds each of them whole.
        for offset, part in blocks(text, overlap=self.shape.size):
            pause()
            found = grams(part, concepts=self.concepts)
            running = self.running(found)
            starts, ends = windows(found.size, self.shape)
            inside = running[ends] - running[starts]
            margins.append(self.margin(inside.real, inside.imag))
            if not read:
                total = running[min(WHOLE, found.size)].item()
                whole = self.margin(total.real, total.imag)
            read.append((offset, found, starts, ends))
        joined = np.concatenate(margins)
        return Facts.of(joined, whole=whole), _place(int(joined.argmax()), read)

    def margin(self, weight: _Number, length: _Number) -> _Number:
        """How far a window is on the side of the attacks, by what its n-grams add of weight and of squared length."""
        margin: _Number = weight / (length + PRIOR) ** 0.5 + self.intercept
        return margin

    def alone(self, weight: _Number, length: _Number) -> _Number:
        """The `log_odds` of a text that is one window, read as a whole, by what its n-grams add."""
        of_highest, _, of_whole, _, shift = self.scale
        return (of_highest + of_whole) * self.margin(weight, length) + shift

    def log_odds(self, facts: Facts) -> float:
        """How likely an attack is by these facts, as log-odds shifted so that 0 is the threshold."""
        of_highest, of_lead, of_whole, of_looks, shift = self.scale
        highest, lead, whole, looks = facts
        return of_highest * highest + of_lead * lead + of_whole * whole + of_looks * looks + shift

    def chance(self, log_odds: float) -> float:
        """The chance (0 to 1) that what scores so is an attack, were attacks as frequent as ordinary texts.

        Isotonic regression on texts of sources that the model had not seen.
        """
        return float(np.interp(log_odds, self.chances[0], self.chances[1]))

    def rate(self, log_odds: float) -> float:
        """The share (0 to 1) of ordinary texts to be expected at these log-odds or above; that at zero was fixed first.

        From texts of sources that the model had not seen, each source with the same say.
        """
        return float(np.interp(log_odds, self.rates[0], self.rates[1]))

    def strongest(self, text: str, *, most: int = 3) -> list[str]:
        """The pairs of words of a folded window that speak most for an attack, strongest first; one word if it has no two."""
        found = grams(text, concepts=self.concepts)
        places, (single, pair) = found.places, (self.pairs.real[buckets] for buckets in found.words[:2])
        size, weights = (2, pair + single[:-1] + single[1:]) if pair.size else (1, single)
        said: list[str] = []
        for index in np.argsort(-weights).tolist():
            if weights[index] <= 0 or len(said) == most:
                break
            after = index + size
            end = places[found.tokens[after]] if after < found.tokens.size else len(text)
            gram = text[places[found.tokens[index]] : end].strip()
            if gram[0].isalnum() and gram[-1].isalnum() and gram not in said:
                said.append(gram)
        return said

    def running(self, found: Grams) -> _Pairs:
        """The sums of what the n-grams add that begin before each place: a window's is a difference of two.

        The weights are the real part, the squared rarities the imaginary one.
        """
        sums = np.zeros(found.size + 1, dtype=np.complex64)
        for buckets in found.characters:
            sums[1 : buckets.size + 1] += self.pairs.take(buckets)
        for starts, rows in ((found.tokens + 1, found.words), (found.marks + 1, found.concepts)):
            for buckets in rows:
                sums[starts[: buckets.size]] += self.pairs.take(buckets)
        return np.cumsum(sums, dtype=np.complex128)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """Both heads, and the name of this training."""

    direct: Head
    planted: Head
    version: str


# The place of a block, its n-grams, and where its windows start and end among what is left of it.
_Read = tuple[int, Grams, npt.NDArray[np.intp], npt.NDArray[np.intp]]


def _place(number: int, read: list[_Read]) -> tuple[int, int]:
    """Where in the text the window of that number is, counted through all blocks."""
    for offset, found, starts, ends in read:
        if number < starts.size:
            places = found.places
            return offset + int(places[starts[number]]), offset + int(places[ends[number] - 1]) + 1
        number -= starts.size
    raise AssertionError("there is no such window")


def windows(size: int, shape: Shape) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Where the windows of `size` characters start and end; a text hardly longer than one is one window."""
    if size <= shape.size + shape.size // 3:
        return np.array([0]), np.array([size])
    starts = np.append(np.arange(0, size - shape.size, shape.step), size - shape.size)
    return starts, starts + shape.size


def blocks(text: str, *, overlap: int) -> Iterator[tuple[int, str]]:
    """What is read of the text in blocks, each with its place; cut anywhere, and beginning with the end of the one before.

    Of a long text the head, the tail and stretches between, spread evenly, so that time stays bounded; rules read all.
    """
    if len(text) <= _READ_WHOLE:
        stretches = [(0, len(text))]
    else:
        between = np.linspace(_BLOCK, len(text) - _BLOCK - _STRETCH, _STRETCHES).astype(int).tolist()
        stretches = [(0, _BLOCK), *((at, at + _STRETCH) for at in between), (len(text) - _BLOCK, len(text))]
    for start, last in stretches:
        at = start
        while True:
            end = min(last, at + _BLOCK)
            yield at, text[at:end]
            if end == last:
                break
            at = end - overlap


def load(path: Path) -> Model:
    """The model in the file at `path`."""
    with np.load(path, allow_pickle=False) as stored:
        return _model(stored)


def _model(stored: np.lib.npyio.NpzFile) -> Model:
    heads = {name: _head(stored, name, shape) for name, shape in (("direct", DIRECT), ("planted", PLANTED))}
    return Model(**heads, version=str(stored["version"]))


def _head(stored: np.lib.npyio.NpzFile, name: str, shape: Shape) -> Head:
    rarity = stored[f"{name}_rarity"].astype(np.float32)
    return Head(
        shape=shape,
        pairs=table(stored[f"{name}_weights"].astype(np.float32) * rarity, rarity),
        intercept=float(stored[f"{name}_intercept"]),
        scale=tuple(stored[f"{name}_scale"].tolist()),
        chances=stored[f"{name}_chances"],
        rates=stored[f"{name}_rates"],
        concepts=stored["concepts"],
    )


@cache
def packaged() -> Model:
    """The model that comes with the product, read once."""
    with packaged_file() as stored:
        return _model(stored)


@contextmanager
def packaged_file() -> Iterator[np.lib.npyio.NpzFile]:
    """The arrays of the file that comes with the product, for the body."""
    with (
        as_file(files(__package__).joinpath("injection_model.npz")) as path,
        np.load(path, allow_pickle=False) as stored,
    ):
        yield stored
