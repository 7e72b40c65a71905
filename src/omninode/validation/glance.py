"""What the words of a text alone let expect of the injection model: enough to pass over most ordinary texts.

The first stage of a cascade (Viola and Jones, CVPR 2001): cheap, and sure only of what it lets go. A word stands for
what it added on average, with all n-grams that begin in it, to the sums of texts that the model was trained on. Words
that it does not know, numbers and letters on their own are strange; a text with many of them goes to the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, repeat

import numpy as np

from omninode.validation.features import words_of
from omninode.validation.model import WHOLE, Facts, Head, blocks, packaged, packaged_file, windows

__all__ = ["Glance", "direct", "planted"]

_MOST_STRANGE = 0.35
# Stands for a word that is not known.
_STRANGE = complex("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """How `head` judges a text by what its words add on average: `known` by word, `unknown` for any other.

    A text whose log-odds are expected `below` that is passed over.
    """

    head: Head
    known: Mapping[str, complex]
    unknown: complex
    below: float

    def passing(self, text: str, *, pause: Callable[[], None] = lambda: None) -> float | None:
        """The log-odds to be expected of the folded text, where hardly any like it would be reported; None: ask the head.

        `pause` is called between steps.
        """
        expected = self.log_odds(text, pause=pause)
        return expected if expected is not None and expected < self.below else None

    def log_odds(self, text: str, *, pause: Callable[[], None] = lambda: None) -> float | None:
        """The log-odds to be expected; None where the words are too strange to tell, in all or in a window."""
        if len(text) > self.head.shape.size:
            return self._of_windows(text, pause)
        said = list(map(self.known.get, words_of(text)))
        strange = said.count(None)
        if not said or strange > _MOST_STRANGE * len(said):
            return None
        total = sum(filter(None, said), strange * self.unknown)
        return self.head.alone(total.real, total.imag)

    def passes_over(self, texts: Sequence[str]) -> list[bool]:
        """Whether each of `texts`, none longer than a window, is `passing`; what a call costs is paid once for all."""
        words = list(map(words_of, texts))
        counts = np.fromiter(map(len, words), dtype=np.intp, count=len(words))
        said = np.array(list(map(self.known.get, chain.from_iterable(words), repeat(_STRANGE))), dtype=np.complex128)
        is_strange = np.isnan(said)
        said[is_strange] = self.unknown
        # A text without words has no part in the sums.
        has_words = counts > 0
        starts = (np.cumsum(counts) - counts)[has_words]
        found = np.zeros(len(words), dtype=np.bool_)
        if starts.size:
            strange, totals = np.add.reduceat(is_strange.astype(np.intp), starts), np.add.reduceat(said, starts)
            is_low = self.head.alone(totals.real, totals.imag) < self.below
            found[has_words] = is_low & (strange <= _MOST_STRANGE * counts[has_words])
        passed: list[bool] = found.tolist()
        return passed

    def _of_windows(self, text: str, pause: Callable[[], None]) -> float | None:
        sums, lengths, strange = (
            [np.zeros(1, dtype=np.complex128)],
            [np.ones(1, dtype=np.intp)],
            [np.zeros(1, dtype=bool)],
        )
        for _, part in blocks(text, overlap=0):
            words = words_of(part)
            said = list(map(self.known.get, words))
            sums.append(np.array([self.unknown if each is None else each for each in said], dtype=np.complex128))
            strange.append(np.array([each is None for each in said], dtype=bool))
            # As if between words there were one sign.
            lengths.append(np.array([len(word) + 1 for word in words], dtype=np.intp))
            pause()
        running, met, places = (np.cumsum(np.concatenate(each)) for each in (sums, strange, lengths))
        size = int(places[-1])
        starts, ends = (np.searchsorted(places, at) for at in windows(size, self.head.shape))
        if np.any(met[ends] - met[starts] > _MOST_STRANGE * (ends - starts)):
            return None
        inside, whole = running[ends] - running[starts], running[np.searchsorted(places, min(WHOLE, size))].item()
        margins = self.head.margin(inside.real, inside.imag)
        return self.head.log_odds(Facts.of(margins, whole=self.head.margin(whole.real, whole.imag)))


@cache
def direct() -> Glance:
    """That of the head for prompts, as it comes with the product."""
    return _read("direct", packaged().direct)


@cache
def planted() -> Glance:
    """That of the head for material from outside."""
    return _read("planted", packaged().planted)


def _read(name: str, head: Head) -> Glance:
    with packaged_file() as stored:
        words = stored[f"{name}_words"].tobytes().decode().split("\n")
        sums = stored[f"{name}_word_sums"].astype(np.float64)
        unknown, unknown_length, below = stored[f"{name}_glance"].tolist()
    return Glance(
        head=head,
        known=dict(zip(words, (sums[0] + 1j * sums[1]).tolist(), strict=True)),
        unknown=complex(unknown, unknown_length),
        below=below,
    )
