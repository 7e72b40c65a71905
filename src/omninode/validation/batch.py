"""The injection model's word on several short texts in one go: what a call costs is paid once for all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from omninode.validation.features import grams
from omninode.validation.model import PRIOR, Head

__all__ = ["log_odds", "log_odds_of"]


def log_odds_of(head: Head, text: str) -> float:
    """What `head` says of one such text."""
    found = grams(text)
    total, norm = 0.0, PRIOR
    for buckets in (*found.characters, *found.words):
        rarity = head.rarity.take(buckets)
        total += float(head.weights.take(buckets).sum())
        norm += float(rarity @ rarity)
    margin = total / math.sqrt(norm) + head.intercept
    return head.log_odds(np.array([margin, 0.0, margin]))


def log_odds(head: Head, texts: Sequence[str]) -> npt.NDArray[np.float64]:
    """What `head` says of each of `texts`, as `Head.log_odds` of `Head.facts` does.

    The texts are folded, not blank, and each so short that it is one window and read as a whole.
    """
    found = grams(" ".join(texts))
    size = found.places.size
    # A space ends one text and begins the next; of white space in a row the first is left.
    separators = np.cumsum([len(text) + 1 for text in texts[:-1]], dtype=np.intp) - 1
    bounds = np.concatenate(([0], np.searchsorted(found.places, separators, side="right") - 1, [size - 1]))
    sums, norms = np.zeros(size), np.zeros(size)
    for buckets in found.characters:
        weights, rarity = head.weights.take(buckets), head.rarity.take(buckets)
        # What reaches over the end of a text is none of either.
        over = (bounds[1:, None] - np.arange(1, size - buckets.size)).ravel()
        over = over[(over >= 0) & (over < buckets.size)]
        weights[over] = rarity[over] = 0.0
        sums[: buckets.size] += weights
        norms[: buckets.size] += rarity * rarity
    after = np.searchsorted(found.tokens, bounds[1:])
    for further, buckets in enumerate(found.words):
        weights, rarity = head.weights.take(buckets), head.rarity.take(buckets)
        over = (after[:, None] - np.arange(1, further + 1)).ravel()
        over = over[(over >= 0) & (over < buckets.size)]
        weights[over] = rarity[over] = 0.0
        at = found.tokens[: buckets.size]
        sums[at] += weights
        norms[at] += rarity * rarity
    starts = bounds[:-1]
    margins = np.add.reduceat(sums, starts) / np.sqrt(np.add.reduceat(norms, starts) + PRIOR) + head.intercept
    facts = np.column_stack((margins, np.zeros_like(margins), margins))
    odds: npt.NDArray[np.float64] = facts @ head.scale[:-1] + head.scale[-1]
    return odds
