"""Percentiles of what rollups kept: histograms as text, which may have been added up any number of times."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

from omninode.storage.histogram import ACCURACY, NOTHING, buckets_of
from omninode.telemetry.sketch import PackedSketch, Sketch

__all__ = ["percentile", "sketch_of"]


def sketch_of(histograms: Iterable[str | None]) -> Sketch:
    """One sketch of all `histograms`, within five per cent; empty for none."""
    return Sketch.merged((_unpacked(text) for text in histograms if text), accuracy=ACCURACY)


def percentile(text: str | None, q: float) -> float | None:
    """The value below which the share `q` of a histogram lies; None where nothing was measured."""
    return sketch_of([text]).quantile(q)


def _unpacked(text: str) -> Sketch:
    counts = dict(buckets_of(text))
    zeros = counts.pop(NOTHING, 0)
    first, last = min(counts, default=0), max(counts, default=-1)
    packed = PackedSketch(
        first=first,
        counts=array("I", [counts.get(number, 0) for number in range(first, last + 1)]).tobytes(),
        zeros=zeros,
        total=0.0,
        smallest=0.0,
        # Nobody wrote down how far the values reached; the middle of the last bucket has to do.
        largest=float("inf"),
    )
    return Sketch.unpack(packed, accuracy=ACCURACY)
