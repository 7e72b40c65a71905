"""Histograms that Postgres adds up with `+` and `sum()`: one number, whose digits, twelve at a time, are the counts.

A value belongs to the bucket `ceil(ln x / ln g)` with `g = 1.05 / 0.95`, so its middle is never off by more than 5 %:
134 buckets from a millisecond to ten minutes. Only the stretch between the first and the last bucket takes room.
Percentiles cannot be added up, and merging arrays or JSON runs through an interpreter; numbers are added in C.
`omn_bucket` and `omn_histogram` are the same in SQL.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, partial

__all__ = ["ACCURACY", "EMPTY", "NOTHING", "bucket_of", "buckets_of", "histogram"]

ACCURACY = 0.05
EMPTY = "0"

# Twelve digits hold the counts of a year at 30,000 rows/s.
_DIGITS = 12
_ZEROS = "0" * _DIGITS
# From 0.0025 (bucket 1) to 1e13 (bucket 359); what is less counts as zero.
_SHIFT, _LAST, _LEAST, _MOST = 60, 359, 0.0025, 1e14
# The number of the bucket of zero, which no other value has.
NOTHING = -_SHIFT
_LOG_GAMMA = math.log((1 + ACCURACY) / (1 - ACCURACY))


def bucket_of(value: float) -> int:
    """The place of `value` in a histogram, 0 to 359."""
    if not value >= _LEAST:
        return 0
    return min(_LAST, max(1, _SHIFT + math.ceil(math.log(min(value, _MOST)) / _LOG_GAMMA)))


def histogram(values: Iterable[float]) -> str:
    """The histogram of `values` as text that `::numeric` takes."""
    # The same places as those of `bucket_of`, without a call of Python for each value.
    counts = Counter(map(partial(bisect_left, _edges()), values))
    if not counts:
        return EMPTY
    pieces = []
    before = None
    for place in sorted(counts, reverse=True):
        if before is not None:
            pieces.append(_ZEROS * (before - place - 1))
        pieces.append(f"{counts[place]:012d}")
        before = place
    return f"{''.join(pieces)}e{_DIGITS * place}"


@cache
def _edges() -> Sequence[float]:
    """The largest value of each bucket but the last, as `bucket_of` rounds it."""
    edges = [math.nextafter(_LEAST, 0)]
    for place in range(1, _LAST):
        edge = math.exp((place - _SHIFT) * _LOG_GAMMA)
        while bucket_of(edge) > place:
            edge = math.nextafter(edge, 0)
        while bucket_of(after := math.nextafter(edge, math.inf)) <= place:
            edge = after
        edges.append(edge)
    return edges


def buckets_of(text: str) -> Mapping[int, int]:
    """What a histogram, as text without an exponent, counts: by `ceil(ln x / ln g)`, and by `NOTHING` for zeros."""
    found = {}
    for place in range(-(-len(text) // _DIGITS)):
        end = len(text) - place * _DIGITS
        count = int(text[max(0, end - _DIGITS) : end])
        if count:
            found[place - _SHIFT] = count
    return found
