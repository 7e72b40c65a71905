"""Needing less evidence for a while, because somebody else has seen the same target fail."""

from __future__ import annotations

from omninode.core.clock import Clock

__all__ = ["Sensitivity"]


class Sensitivity:
    """Off until it is set, on for the time it is set for; every detector has one."""

    __slots__ = ("_clock", "_until")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: float | None = None

    @property
    def is_on(self) -> bool:
        """Whether half the evidence is enough now."""
        if self._until is None:
            return False
        if self._clock.monotonic() >= self._until:
            self._until = None
        return self._until is not None

    @property
    def note(self) -> str:
        """What to add to the reason for tripping."""
        return " (half is enough: it is open in another process)" if self.is_on else ""

    def set(self, lasts_s: float) -> None:
        """On for `lasts_s` seconds from now; off when that is not positive."""
        self._until = self._clock.monotonic() + lasts_s if lasts_s > 0 else None
