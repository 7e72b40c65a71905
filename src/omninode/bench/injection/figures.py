"""How good a score is: the area under the curve, shares with their exact limits."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Share", "area", "share_above"]

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """`count` of `total`, and the limits within which the true share lies with 95 % confidence (Clopper-Pearson)."""

    count: int
    total: int

    @property
    def value(self) -> float:
        """The share, 0 to 1."""
        return self.count / self.total

    @property
    def limits(self) -> tuple[float, float]:
        """The lower and the upper exact limit."""
        low = 0.0 if self.count == 0 else _solved(lambda p: 1 - _up_to(self.count - 1, self.total, p) - 0.025)
        high = 1.0 if self.count == self.total else _solved(lambda p: 0.025 - _up_to(self.count, self.total, p))
        return low, high

    def __str__(self) -> str:
        low, high = self.limits
        return f"{self.count}/{self.total} = {100 * self.value:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def share_above(scores: _Floats, *, threshold: float = 0.0) -> Share:
    """The share of the scores above the threshold."""
    return Share(count=int((scores > threshold).sum()), total=len(scores))


def area(attacks: _Floats, benign: _Floats) -> float:
    """The chance that an attack scores higher than a benign text; equal scores count half."""
    order = np.sort(benign)
    below = np.searchsorted(order, attacks, side="left") + np.searchsorted(order, attacks, side="right")
    return float(below.sum()) / (2 * len(attacks) * len(benign))


def _up_to(count: int, total: int, chance: float) -> float:
    """The chance of at most `count` of `total`."""
    if not 0.0 < chance < 1.0:
        return 1.0 if chance <= 0.0 else 0.0
    hits = np.arange(count + 1)
    logs = np.array([math.lgamma(total + 1) - math.lgamma(k + 1) - math.lgamma(total - k + 1) for k in hits])
    return float(min(1.0, np.exp(logs + hits * math.log(chance) + (total - hits) * math.log1p(-chance)).sum()))


def _solved(rising: Callable[[float], float]) -> float:
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return (low + high) / 2
