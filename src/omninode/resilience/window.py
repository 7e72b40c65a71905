"""How many of the latest calls went badly: of the last so many, or in the last so many seconds."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from omninode.core.clock import Clock
from omninode.core.errors import InvalidArgumentError
from omninode.resilience.ranges import require_count, require_seconds

__all__ = ["CountWindow", "TimeWindow", "Window", "check_window", "window_of"]

_BUCKETS = 10


class Window(Protocol):
    """What is remembered of the latest calls; `total` of them, `bad` of which went badly."""

    total: int
    bad: int

    def add(self, *, is_bad: bool) -> None:
        """Remember one more, forget what is too old."""
        ...

    def clear(self) -> None:
        """Forget everything."""
        ...


class CountWindow:
    """The last `calls` calls; memory and time per call do not depend on their rate."""

    __slots__ = ("_calls", "_seen", "bad", "total")

    def __init__(self, calls: int) -> None:
        self._calls = calls
        self._seen: deque[bool] = deque()
        self.total = self.bad = 0

    def add(self, *, is_bad: bool) -> None:
        """See `Window.add`."""
        if self.total == self._calls:
            self.bad -= self._seen.popleft()
            self.total -= 1
        self._seen.append(is_bad)
        self.total += 1
        self.bad += is_bad

    def clear(self) -> None:
        """See `Window.clear`."""
        self._seen.clear()
        self.total = self.bad = 0


class TimeWindow:
    """The last `seconds`, forgotten a tenth at a time, so that memory does not depend on the rate of calls."""

    __slots__ = ("_buckets", "_clock", "_width_s", "bad", "total")

    def __init__(self, seconds: float, clock: Clock) -> None:
        self._clock = clock
        self._width_s = seconds / _BUCKETS
        # The number of the bucket, its calls, its bad ones.
        self._buckets: deque[tuple[int, int, int]] = deque()
        self.total = self.bad = 0

    def add(self, *, is_bad: bool) -> None:
        """See `Window.add`."""
        now = int(self._clock.monotonic() / self._width_s)
        if self._buckets and self._buckets[-1][0] > now:
            # The clock has gone back: nothing is known about these seconds.
            self.clear()
        while self._buckets and self._buckets[0][0] <= now - _BUCKETS:
            _, total, bad = self._buckets.popleft()
            self.total -= total
            self.bad -= bad
        if self._buckets and self._buckets[-1][0] == now:
            number, total, bad = self._buckets.pop()
        else:
            number, total, bad = now, 0, 0
        self._buckets.append((number, total + 1, bad + is_bad))
        self.total += 1
        self.bad += is_bad

    def clear(self) -> None:
        """See `Window.clear`."""
        self._buckets.clear()
        self.total = self.bad = 0


def check_window(owner: str, *, calls: int | None, seconds: float | None, min_calls: int) -> None:
    """Raise InvalidArgumentError unless these describe one window that can hold `min_calls`."""
    require_count(owner, "min_calls", min_calls, at_least=1)
    if (calls is None) == (seconds is None):
        raise InvalidArgumentError(f"{owner}: calls is {calls!r}, seconds is {seconds!r}; pass exactly one of them")
    if calls is not None:
        require_count(owner, "calls", calls, at_least=min_calls)
    if seconds is not None:
        require_seconds(owner, "seconds", seconds)


def window_of(calls: int | None, seconds: float | None, clock: Clock) -> Window:
    """The window that these describe."""
    if calls is not None:
        return CountWindow(calls)
    assert seconds is not None
    return TimeWindow(seconds, clock)
