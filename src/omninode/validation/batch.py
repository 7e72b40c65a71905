"""The injection model's word on several short texts in one go: what a call costs is paid once for all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from omninode.validation.features import grams
from omninode.validation.model import Head

__all__ = ["log_odds", "log_odds_of"]


def log_odds_of(head: Head, text: str) -> float:
    """What `head` says of one such text."""
    found = grams(text, concepts=head.concepts)
    total = complex(head.pairs.take(found.buckets).sum())
    return head.alone(total.real, total.imag)


def log_odds(head: Head, texts: Sequence[str]) -> npt.NDArray[np.float64]:
    """What `head` says of each of `texts`, as `Head.log_odds` of `Head.facts` does.

    The texts are folded, not blank, and each so short that it is one window and read as a whole.
    """
    found = grams(" ".join(texts), concepts=head.concepts)
    # A space ends one text and begins the next; of white space in a row the first is left.
    separators = np.cumsum([len(text) + 1 for text in texts[:-1]], dtype=np.intp) - 1
    inner = np.searchsorted(found.places, separators, side="right") - 1
    starts, ends = np.append(0, inner), np.append(inner, found.size - 1)
    sums = np.zeros(found.size, dtype=np.complex128)
    for row, buckets in enumerate(found.characters):
        sums[: buckets.size] += _inside(head, buckets, after=ends, reach=row + 1)
    for at, rows in ((found.tokens, found.words), (found.marks, found.concepts)):
        after = np.searchsorted(at, ends)
        for row, buckets in enumerate(rows):
            sums[at[: buckets.size]] += _inside(head, buckets, after=after, reach=row)
    totals = np.add.reduceat(sums, starts)
    return head.alone(totals.real, totals.imag)


def _inside(
    head: Head, buckets: npt.NDArray[np.intp], *, after: npt.NDArray[np.intp], reach: int
) -> npt.NDArray[np.complex64]:
    """What the n-grams of one size add, but for those that reach over the end of a text: up to `reach` before each end.

    `after` is behind the last place of each text.
    """
    pairs = head.pairs.take(buckets)
    over = (after[:, None] - np.arange(1, reach + 1)).ravel()
    pairs[over[(over >= 0) & (over < pairs.size)]] = 0
    return pairs
