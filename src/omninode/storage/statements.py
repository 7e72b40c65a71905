"""How often each named statement ran, and for how long."""

from __future__ import annotations

import time
from dataclasses import dataclass

__all__ = ["StatementClock", "StatementTimes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementTimes:
    """One statement since the database was opened."""

    calls: int = 0
    total_ms: float = 0.0
    max_ms: float = 0.0


class StatementClock:
    """Adds up times by statement name; there are as many names as `.sql` files hold."""

    def __init__(self) -> None:
        self._times: dict[str, list[float]] = {}
        self._since = time.monotonic()

    @property
    def hours(self) -> float:
        """For how long it has been counting; a minute at least, so that the first call is no stampede."""
        return max((time.monotonic() - self._since) / 3600, 1 / 60)

    def add(self, name: str, seconds: float) -> None:
        """Count one run of `name`."""
        entry = self._times.setdefault(name, [0, 0.0, 0.0])
        entry[0] += 1
        entry[1] += seconds
        entry[2] = max(entry[2], seconds)

    def times(self) -> dict[str, StatementTimes]:
        """All statements that ran."""
        return {
            name: StatementTimes(calls=int(calls), total_ms=total * 1000, max_ms=longest * 1000)
            for name, (calls, total, longest) in self._times.items()
        }
