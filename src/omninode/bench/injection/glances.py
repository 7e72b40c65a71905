"""What each word adds on average to the sums of a head: how the first stage of the injection model is made."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from omninode.validation.features import grams, words_of
from omninode.validation.glance import Glance
from omninode.validation.model import WHOLE, Head

__all__ = ["glance_arrays", "glance_at"]

# A word met in fewer places is unknown; one that is known counts as much as its places and so many unknown ones.
_LEAST = 3
# An unknown word is taken for one by so many standard deviations more suspicious than those met once are on average.
_CAUTION = 0.5
_ALONE = frozenset({"a", "i"})
# Of the texts that the head reports one in two hundred may be passed over.
_MISSED = 0.005


def glance_at(head: Head, texts: Sequence[str], *, reported_from: float) -> Glance:
    """The glance for `head` by folded `texts` like those it was trained on; it reports from those log-odds on."""
    added: defaultdict[str, list[complex]] = defaultdict(list)
    for text in texts:
        for word, each in _by_word(head, text[:WHOLE]):
            added[word].append(each)
    once = np.array([each[0] for each in added.values() if len(each) == 1])
    unknown = complex(once.real.mean() + _CAUTION * once.real.std(), once.imag.mean())
    known = {
        word: (sum(each) + _LEAST * unknown) / (len(each) + _LEAST)
        for word, each in added.items()
        if len(each) >= _LEAST and (len(word) > 1 or word in _ALONE) and word.strip("0_")
    }
    glance = Glance(head=head, known=known, unknown=unknown, below=-np.inf)
    reported = [text for text in texts if head.log_odds(head.facts(text)[0]) >= reported_from]
    expected = [glance.log_odds(text) for text in reported]
    passable = np.sort([np.inf if each is None else each for each in expected])
    return Glance(head=head, known=known, unknown=unknown, below=float(passable[int(_MISSED * passable.size)]))


def _by_word(head: Head, text: str) -> list[tuple[str, complex]]:
    """Each word with what the n-grams add that begin in it or between it and the next; those before the first are its."""
    found, words = grams(text, concepts=head.concepts), words_of(text)
    running = head.running(found)
    starts = found.words_at
    if starts.size != len(words) or not words:
        return []
    borders = np.append(starts, found.size)
    borders[0] = 0
    return list(zip(words, (running[borders[1:]] - running[borders[:-1]]).tolist(), strict=True))


def glance_arrays(name: str, glance: Glance) -> dict[str, npt.NDArray[np.generic]]:
    """What is stored of it."""
    words = sorted(glance.known)
    sums = np.array([glance.known[word] for word in words])
    return {
        f"{name}_words": np.frombuffer("\n".join(words).encode(), dtype=np.uint8),
        f"{name}_word_sums": np.array([sums.real, sums.imag], dtype=np.float16),
        f"{name}_glance": np.array([glance.unknown.real, glance.unknown.imag, glance.below]),
    }
