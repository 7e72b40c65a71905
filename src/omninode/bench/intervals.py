"""How sure a median is: bootstrap intervals, which ask nothing of how the values are spread."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from random import Random

from omninode.core.errors import InvalidArgumentError

__all__ = ["median_interval"]

_RESAMPLES = 2_000


def median_interval(values: Sequence[float], *, confidence: float = 0.95) -> tuple[float, float]:
    """Where the median of what `values` are a sample of lies, by the percentiles of medians of resamples.

    The same for the same values: its draws are seeded. Raises InvalidArgumentError without values.
    """
    if not values or not 0 < confidence < 1:
        raise InvalidArgumentError(f"no {confidence:g} interval of {len(values)} values; pass values and 0 to 1")
    luck = Random(1)  # noqa: S311 - statistics, not a secret
    medians = sorted(statistics.median(luck.choices(values, k=len(values))) for _ in range(_RESAMPLES))
    cut = int(_RESAMPLES * (1 - confidence) / 2)
    return medians[cut], medians[-1 - cut]
