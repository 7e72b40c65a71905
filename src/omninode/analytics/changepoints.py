"""When a series changed its level: rank segmentation that autocorrelation does not fool.

The split with the most unequal ranks on both sides is tested with a Mann-Whitney statistic, divided by
`sqrt((1+r)/(1-r))`, where `r` is the lag-1 autocorrelation inside the two sides: neighbours in a latency series are
alike, so it holds less evidence than it has points. Ranks make single spikes harmless.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from omninode.core.errors import InvalidArgumentError

__all__ = ["Changepoint", "changepoints"]

Floats = NDArray[np.float64]

# A splice of more points than this says nothing that fewer and wider buckets would not.
_MAX_POINTS = 5_000
_MIN_SEGMENT = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Changepoint:
    """From `index` on the level is another: medians of the parts before and after, and `shift`, +0.2 for 20 % more."""

    index: int
    before: float
    after: float
    shift: float
    p_value: float


def changepoints(
    values: Sequence[float | None],
    *,
    season: int | None = None,
    significance: float = 0.001,
    min_shift: float = 0.05,
) -> tuple[Changepoint, ...]:
    """Where the level of `values` shifted, in order; gaps (None) are left out, values below zero refused.

    Args:
        values: one figure per bucket, at equal distances.
        season: how many buckets make a cycle to take out first (24 for hours of the day); needs two full cycles.
        significance: below which a split counts, after correction for the many places it could have been.
        min_shift: relative differences of the medians up to this are not worth telling.

    Strongly autocorrelated series (r near 0.9) hide shifts below 50 %: absence of a finding is weak evidence there.
    """
    if len(values) > _MAX_POINTS:
        raise InvalidArgumentError(f"{len(values)} points; pass at most {_MAX_POINTS}, or use wider buckets")
    places = np.array([index for index, value in enumerate(values) if _is_known(value)], dtype=np.int64)
    if len(places) < 2 * _MIN_SEGMENT:
        return ()
    known = np.array([values[index] for index in places], dtype=np.float64)
    if known.min() < 0:
        raise InvalidArgumentError("a series of durations, counts or costs has no values below zero")
    level = np.log(np.maximum(known, _floor(known)))
    if season and len(places) >= 2 * season:
        level = _deseasoned(level, places, season)
    cuts = _splits(level, 0, significance, math.log1p(min_shift))
    edges = [0, *(cut for cut, _ in cuts), len(level)]
    medians = [float(np.median(level[start:end])) for start, end in itertools.pairwise(edges)]
    return tuple(
        Changepoint(
            index=int(places[cut]),
            before=math.exp(before),
            after=math.exp(after),
            shift=math.expm1(after - before),
            p_value=p_value,
        )
        for (cut, p_value), before, after in zip(cuts, medians, medians[1:], strict=False)
    )


def _is_known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _floor(known: Floats) -> float:
    positive = known[known > 0]
    return float(positive.min()) / 2 if len(positive) else 1.0


def _deseasoned(level: Floats, places: NDArray[np.int64], season: int) -> Floats:
    """`level` without its daily profile; the profile alone goes, or shifts would vanish with it."""
    half = season // 2
    padded = np.pad(level, (half, season - 1 - half), mode="reflect")
    rolling = np.median(np.lib.stride_tricks.sliding_window_view(padded, season), axis=1)
    residual = level - rolling
    profile = np.zeros(season)
    for hour in range(season):
        at_hour = residual[places % season == hour]
        profile[hour] = np.median(at_hour) if len(at_hour) else 0.0
    deseasoned: Floats = level - profile[places % season]
    return deseasoned


def _splits(level: Floats, offset: int, significance: float, min_shift: float) -> list[tuple[int, float]]:
    """The cuts of a segment, in order, each with its p-value; a segment without one is left whole."""
    count = len(level)
    if count < 2 * _MIN_SEGMENT:
        return []
    ranks = _ranks(level)
    ks = np.arange(_MIN_SEGMENT, count - _MIN_SEGMENT + 1)
    sums = np.cumsum(ranks)[ks - 1]
    zs = np.abs(sums - ks * (count + 1) / 2) / np.sqrt(ks * (count - ks) * (count + 1) / 12)
    best = int(np.argmax(zs))
    cut = int(ks[best])
    left, right = level[:cut], level[cut:]
    likeness = _autocorrelation(left, right)
    z = float(zs[best]) / math.sqrt((1 + likeness) / (1 - likeness))
    p_value = min(1.0, count * math.erfc(z / math.sqrt(2)))
    if p_value >= significance or abs(float(np.median(right) - np.median(left))) <= min_shift:
        return []
    return [
        *_splits(left, offset, significance, min_shift),
        (offset + cut, p_value),
        *_splits(right, offset + cut, significance, min_shift),
    ]


def _ranks(level: Floats) -> Floats:
    """Ranks from 1, equal values sharing their mean rank."""
    _, places, counts = np.unique(level, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    shared: Floats = ((ends - counts + 1 + ends) / 2)[places]
    return shared


def _autocorrelation(left: Floats, right: Floats) -> float:
    """Lag-1 autocorrelation of the ranks inside both sides, 0 to 0.95."""
    products = squares = 0.0
    for side in (left, right):
        ranks = _ranks(side)
        ranks = ranks - ranks.mean()
        products += float(np.dot(ranks[1:], ranks[:-1]))
        squares += float(np.dot(ranks, ranks))
    return min(0.95, max(0.0, products / squares)) if squares else 0.0
