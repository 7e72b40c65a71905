"""Learning what context is worth: a regression that knows how sure it is, and what an answer really drew on."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from omninode.context.item import ContextItem
from omninode.core.errors import InvalidArgumentError

__all__ = ["Citation", "LinearPosterior", "cited"]

_Vector = NDArray[np.float64]
_WORD = re.compile(r"\w+")
# Rounding of the rank-one updates is swept out so often.
_RECOMPUTE_EVERY = 512


class LinearPosterior:
    """Bayesian linear regression of a reward in 0 to 1 on features, updated one observation at a time.

    Args:
        size: how many features.
        prior_mean: the reward expected before anything was seen.
        prior_variance: how far that may be off, per unit of squared feature length.
        noise_variance: how much one reward scatters.
    """

    def __init__(
        self, size: int, *, prior_mean: float = 0.5, prior_variance: float = 0.25, noise_variance: float = 0.1
    ) -> None:
        if size < 1 or prior_variance <= 0 or noise_variance <= 0:
            raise InvalidArgumentError(
                f"size {size}, variances {prior_variance} and {noise_variance}: all must be greater than zero"
            )
        self._prior_mean = prior_mean
        self._noise = noise_variance
        self._precision: _Vector = np.eye(size) / prior_variance
        self._covariance: _Vector = np.eye(size) * prior_variance
        self._weighted: _Vector = np.zeros(size)
        self._theta: _Vector = np.zeros(size)
        self.labels = 0

    def update(self, features: Sequence[float], reward: float, *, weight: float = 1.0) -> None:
        """Take one observation; `weight` below 1 for one that says less than a direct label."""
        x = np.asarray(features, dtype=np.float64)
        noise = self._noise / weight
        self._precision += np.outer(x, x) / noise
        self._weighted += x * ((reward - self._prior_mean) / noise)
        self.labels += 1
        if self.labels % _RECOMPUTE_EVERY == 0:
            self._covariance = np.asarray(np.linalg.inv(self._precision), dtype=np.float64)
        else:
            # Sherman-Morrison: the inverse after a rank-one change, without inverting.
            turned = self._covariance @ x
            self._covariance -= np.outer(turned, turned) / (noise + x @ turned)
        self._theta = self._covariance @ self._weighted

    def mean(self, features: Sequence[float]) -> float:
        """The expected reward."""
        return self._prior_mean + float(np.asarray(features, dtype=np.float64) @ self._theta)

    def deviation(self, features: Sequence[float]) -> float:
        """How unsure that expectation is (one standard deviation, without the scatter of single rewards)."""
        x = np.asarray(features, dtype=np.float64)
        return math.sqrt(max(1e-12, float(x @ self._covariance @ x)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """That an answer drew on an item: the share of the answer's n-grams found in it, and whether it was named."""

    item_id: str
    source: str
    overlap: float
    is_named: bool


def cited(
    items: Iterable[ContextItem], answer: str, *, ignoring: str = "", n: int = 5, at_least: int = 2
) -> tuple[Citation, ...]:
    """The items `answer` drew on, most drawn on first.

    An item counts when the answer names its id, path or URL, or shares at least `at_least` runs of `n` words with it
    that are not in `ignoring` as well (the prompt and the task: quoting those is no use of context).
    """
    if n < 1 or at_least < 1:
        raise InvalidArgumentError(f"n is {n} and at_least {at_least}; pass 1 or more")
    spoken = _ngrams(answer, n) - _ngrams(ignoring, n)
    lowered = answer.casefold()
    found = []
    for item in items:
        shared = len(spoken & _ngrams(item.content, n))
        is_named = any(_is_named(name, lowered) for name in (item.id, item.path, item.url) if name)
        if is_named or shared >= at_least:
            overlap = shared / len(spoken) if spoken else 0.0
            found.append(Citation(item_id=item.id, source=item.source, overlap=overlap, is_named=is_named))
    return tuple(sorted(found, key=lambda citation: (-citation.overlap, not citation.is_named)))


def _ngrams(text: str, n: int) -> set[tuple[str, ...]]:
    words = _WORD.findall(text.casefold())
    return set(zip(*(words[start:] for start in range(n)), strict=False))


def _is_named(name: str, lowered: str) -> bool:
    at = lowered.find(name.casefold())
    while at >= 0:
        after = lowered[at + len(name) : at + len(name) + 1]
        before = lowered[at - 1 : at]
        if not (after.isalnum() or after == "_" or before.isalnum() or before == "_"):
            return True
        at = lowered.find(name.casefold(), at + 1)
    return False
