"""How long the latest calls took, as a quantile."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque

__all__ = ["Latencies"]


class Latencies:
    """The latest `size` values, kept sorted: adding one and asking for a quantile take microseconds at 300."""

    __slots__ = ("_latest", "_size", "_sorted")

    def __init__(self, size: int = 300) -> None:
        self._size = size
        self._latest: deque[float] = deque()
        self._sorted: list[float] = []

    def __len__(self) -> int:
        return len(self._sorted)

    def add(self, value: float) -> None:
        """Take one more in, forget the oldest beyond `size`."""
        if len(self._latest) >= self._size:
            del self._sorted[bisect_left(self._sorted, self._latest.popleft())]
        self._latest.append(value)
        insort(self._sorted, value)

    def quantile(self, share: float, *, at_least: int) -> float | None:
        """The value that `share` of them do not exceed; None while there are fewer than `at_least`."""
        count = len(self._sorted)
        if count < max(1, at_least):
            return None
        return self._sorted[min(count - 1, int(share * count))]
