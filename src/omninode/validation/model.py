"""The trained injection model: how strongly a text reads as an attack, where, and which n-grams say so.

Two heads over the same n-grams. `direct` reads what a user sends, in windows of 300 characters and as a whole;
`planted` reads material from outside, in short windows, and asks how far the strangest stands out from the rest.
Trained by `tools/train_injection.py`; `docs/model-card-injection.md` says on what and how well it does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import numpy.typing as npt

from omninode.validation.features import Grams, grams

__all__ = ["PRIOR", "Head", "Model", "Shape", "load", "packaged", "windows"]

_Floats = npt.NDArray[np.float64]
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


# Added to the squared length of every window, as much as some ten characters unlike any seen: so that one word alone
# says little, whichever it is.
PRIOR = 1_500.0

DIRECT = Shape(size=300, step=150)
PLANTED = Shape(size=120, step=40)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """One linear model and how its sums become a score.

    `weights` and `rarity` (idf) are per bucket; `scale` maps the facts `facts` gives about a text to a log-odds.
    """

    shape: Shape
    weights: npt.NDArray[np.float32]
    rarity: npt.NDArray[np.float32]
    intercept: float
    scale: _Floats

    def facts(self, text: str) -> tuple[_Floats, tuple[int, int]]:
        """What is known of a folded text: highest window, lead over the middle one, whole; and where the highest is."""
        margins, spans, whole = [], [], None
        for offset, found in _blocks(text, self.shape.size):
            sums, norms = self._running(found)
            if whole is None:
                whole = self._margin(sums, norms, np.array([0]), np.array([min(WHOLE, len(found.places))]))[0]
            starts, ends = windows(len(found.places), self.shape)
            margins.append(self._margin(sums, norms, starts, ends))
            spans += [
                (offset + int(found.places[a]), offset + int(found.places[b - 1]) + 1)
                for a, b in zip(starts, ends, strict=True)
            ]
        joined = np.concatenate(margins)
        best = int(joined.argmax())
        return np.array([joined[best], joined[best] - float(np.median(joined)), whole]), spans[best]

    def log_odds(self, facts: _Floats) -> float:
        """How likely an attack is by these facts, as log-odds shifted so that 0 is the threshold."""
        return float(self.scale[:-1] @ facts + self.scale[-1])

    def strongest(self, text: str, *, most: int = 3) -> list[str]:
        """The words and pairs of words of a folded window that speak most for an attack, strongest first."""
        found = grams(text)
        said: dict[str, float] = {}
        for size, buckets in enumerate(found.words[:2], start=1):
            weights = self.weights[buckets]
            for index in np.argsort(-weights)[:most]:
                if weights[index] > 0:
                    after = index + size
                    start = found.places[found.tokens[index]]
                    end = found.places[found.tokens[after]] if after < found.tokens.size else len(text)
                    said.setdefault(text[start:end].strip(), float(weights[index]))
        return sorted(said, key=lambda gram: -said[gram])[:most]

    def _running(self, found: Grams) -> tuple[_Floats, _Floats]:
        """The sums of weights and of squared rarities up to each place: a window's is a difference of two."""
        size = len(found.places)
        sums, norms = np.zeros(size + 1), np.zeros(size + 1)
        for buckets in found.characters:
            rarity = self.rarity[buckets]
            sums[1 : buckets.size + 1] += self.weights[buckets]
            norms[1 : buckets.size + 1] += rarity * rarity
        for buckets in found.words:
            at = found.tokens[: buckets.size] + 1
            rarity = self.rarity[buckets]
            sums[at] += self.weights[buckets]
            norms[at] += rarity * rarity
        return np.cumsum(sums), np.cumsum(norms)

    def _margin(
        self, sums: _Floats, norms: _Floats, starts: npt.NDArray[np.intp], ends: npt.NDArray[np.intp]
    ) -> _Floats:
        return (sums[ends] - sums[starts]) / np.sqrt(norms[ends] - norms[starts] + PRIOR) + self.intercept


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """Both heads, and the name of this training."""

    direct: Head
    planted: Head
    version: str


def windows(size: int, shape: Shape) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Where the windows of `size` characters start and end; a text hardly longer than one is one window."""
    if size <= shape.size + shape.size // 3:
        return np.array([0]), np.array([size])
    starts = np.append(np.arange(0, size - shape.size, shape.step), size - shape.size)
    return starts, starts + shape.size


def _blocks(text: str, overlap: int) -> Iterator[tuple[int, Grams]]:
    """The text in blocks, each with its place; cut anywhere, as the overlap holds every window whole.

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
            yield at, grams(text[at:end])
            if end == last:
                break
            at = end - overlap


def load(path: Path) -> Model:
    """The model in the file at `path`."""
    with np.load(path, allow_pickle=False) as stored:
        heads = {name: _head(stored, name, shape) for name, shape in (("direct", DIRECT), ("planted", PLANTED))}
        return Model(**heads, version=str(stored["version"]))


def _head(stored: np.lib.npyio.NpzFile, name: str, shape: Shape) -> Head:
    rarity = stored[f"{name}_rarity"].astype(np.float32)
    return Head(
        shape=shape,
        weights=stored[f"{name}_weights"].astype(np.float32) * rarity,
        rarity=rarity,
        intercept=float(stored[f"{name}_intercept"]),
        scale=stored[f"{name}_scale"],
    )


@cache
def packaged() -> Model:
    """The model that comes with the product, read once."""
    with as_file(files(__package__).joinpath("injection_model.npz")) as path:
        return load(path)
