"""DDSketch: percentiles within one per cent, in little memory, that can be added up (Masson et al., 2019).

A value falls into the bucket `ceil(ln x / ln g)`, where `g` grows so slowly that the middle of a bucket is never off
by more than the accuracy. Merging adds counts, so any sketch sums with any other of the same accuracy.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from omninode.core.errors import InvalidArgumentError

__all__ = ["PackedSketch", "Sketch"]

# A nanosecond to thirty years when the unit is seconds; outside values count at the ends, which bounds the buckets.
_SMALLEST, _LARGEST = 1e-9, 1e12


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedSketch:
    """A sketch as it is stored: counts as little-endian u4 from bucket `first` on, and what the buckets cannot hold."""

    first: int
    counts: bytes
    zeros: int
    total: float
    smallest: float
    largest: float


class Sketch:
    """Counts per bucket of the non-negative values added so far; not safe from several threads at once."""

    __slots__ = ("_buckets", "_gamma", "_log_gamma", "accuracy", "count", "largest", "smallest", "total", "zeros")

    def __init__(self, *, accuracy: float = 0.01) -> None:
        """`accuracy` is the largest relative error of a quantile, above 0 and below 1."""
        if not 0 < accuracy < 1:
            raise InvalidArgumentError(f"accuracy is {accuracy}; it lies above 0 and below 1, such as 0.01")
        self.accuracy = accuracy
        self._gamma = (1 + accuracy) / (1 - accuracy)
        self._log_gamma = math.log(self._gamma)
        self._buckets: dict[int, int] = {}
        self.zeros = 0
        self.count = 0
        self.total = 0.0
        self.smallest = math.inf
        self.largest = 0.0

    def add(self, value: float, count: int = 1) -> None:
        """Count `value`, `count` times; negative values count as zero, NaN is refused with InvalidArgumentError."""
        if math.isnan(value):
            raise InvalidArgumentError("a sketch takes numbers; this value is NaN")
        value = max(0.0, value)
        self.count += count
        self.total += value * count
        self.smallest = min(self.smallest, value)
        self.largest = max(self.largest, value)
        if value < _SMALLEST:
            self.zeros += count
            return
        bucket = math.ceil(math.log(min(value, _LARGEST)) / self._log_gamma)
        self._buckets[bucket] = self._buckets.get(bucket, 0) + count

    def quantile(self, q: float) -> float | None:
        """The value below which the share `q` of all values lies, within the accuracy; None of an empty sketch."""
        if not 0 <= q <= 1:
            raise InvalidArgumentError(f"quantile {q}; it lies between 0 and 1")
        if self.count == 0:
            return None
        rank = q * (self.count - 1)
        reached = self.zeros
        if reached > rank:
            return 0.0
        for bucket in sorted(self._buckets):
            reached += self._buckets[bucket]
            if reached > rank:
                middle = 2 * self._gamma**bucket / (self._gamma + 1)
                return min(max(middle, self.smallest), self.largest)
        return self.largest

    @property
    def mean(self) -> float | None:
        """The exact mean; None of an empty sketch."""
        return self.total / self.count if self.count else None

    def merge(self, other: Sketch) -> Self:
        """Add the counts of `other` to this one, and return this one."""
        if not math.isclose(other.accuracy, self.accuracy):
            raise InvalidArgumentError(f"sketches of accuracy {self.accuracy} and {other.accuracy} do not add up")
        for bucket, count in other._buckets.items():
            self._buckets[bucket] = self._buckets.get(bucket, 0) + count
        self.zeros += other.zeros
        self.count += other.count
        self.total += other.total
        self.smallest = min(self.smallest, other.smallest)
        self.largest = max(self.largest, other.largest)
        return self

    @classmethod
    def merged(cls, sketches: Iterable[Sketch], *, accuracy: float = 0.01) -> Self:
        """The sum of `sketches`; empty for none."""
        whole = cls(accuracy=accuracy)
        for sketch in sketches:
            whole.merge(sketch)
        return whole

    def pack(self) -> PackedSketch:
        """This sketch as bytes, for a `bytea` column."""
        first = min(self._buckets, default=0)
        counts = array("I", [0]) * (max(self._buckets, default=-1) - first + 1)
        for bucket, count in self._buckets.items():
            counts[bucket - first] = count
        return PackedSketch(
            first=first,
            counts=counts.tobytes(),
            zeros=self.zeros,
            total=self.total,
            smallest=self.smallest,
            largest=self.largest,
        )

    @classmethod
    def unpack(cls, packed: PackedSketch, *, accuracy: float = 0.01) -> Self:
        """The sketch that `pack` made `packed` of; it must have had the same accuracy."""
        sketch = cls(accuracy=accuracy)
        counts = array("I")
        counts.frombytes(packed.counts)
        sketch._buckets = {packed.first + index: count for index, count in enumerate(counts) if count}
        sketch.zeros = packed.zeros
        sketch.count = packed.zeros + sum(counts)
        sketch.total = packed.total
        sketch.smallest = packed.smallest
        sketch.largest = packed.largest
        return sketch
