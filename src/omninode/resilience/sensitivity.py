"""Needing less evidence for a while, because somebody else has seen the same target fail."""

from __future__ import annotations

from omninode.core.clock import Clock

__all__ = ["Sensitivity"]


class Sensitivity:
    """Off until it is set, on for the time it is set for; every detector has one."""

    __slots__ = ("_clock", "_span")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._span: tuple[float, float] | None = None

    @property
    def is_on(self) -> bool:
        """Whether less evidence is enough now."""
        # Read once: a plain function may ask from a thread of its own.
        span = self._span
        return span is not None and span[0] <= self._clock.monotonic() < span[1]

    @property
    def note(self) -> str:
        """What to add to the reason for tripping."""
        return " (enough while it is open in another process)" if self.is_on else ""

    def set(self, lasts_s: float) -> None:
        """On for `lasts_s` seconds from now; off when that is not positive."""
        now = self._clock.monotonic()
        self._span = (now, now + lasts_s) if lasts_s > 0 else None
