"""The half-open state: how many calls may find out at once, and when they have found out enough."""

from __future__ import annotations

import math

from omninode.resilience.circuit import CircuitBreakerConfig, CircuitState
from omninode.resilience.classify import FAILURES, Outcome

__all__ = ["Probes"]

# The closing test is wrong at most once in 100 times; the slack is for the rounding of two successes by the defaults.
_CLOSING_SCORE = -math.log(100.0) + 1e-9


class Probes:
    """The probes of one breaker; `clear` at every change of its state."""

    __slots__ = ("_begun_at", "_break_s", "_config", "_score", "successes", "under_way")

    def __init__(self, config: CircuitBreakerConfig) -> None:
        self._config = config
        self.clear()

    def clear(self) -> None:
        """Forget the probes of the last half-open stretch."""
        self.under_way = self.successes = 0
        self._score = self._begun_at = self._break_s = 0.0

    def has_free(self, now: float) -> bool:
        """Whether one more may start.

        A probe that never answers must not hold the breaker half open for ever: one more may start each time a whole
        break has passed since the last.
        """
        quota = self._config.half_open_max_calls + (self.successes if self._config.probe_ramp else 0)
        if self.under_way < quota:
            return True
        # Outside this stretch as well when the clock has gone back.
        return not 0.0 <= now - self._begun_at < max(1.0, self._break_s)

    def begin(self, now: float, *, break_s: float | None = None) -> None:
        """Start one, after a break of at most `break_s` (None: of the first length)."""
        self.under_way += 1
        self._begun_at = now
        self._break_s = self._config.timeout_seconds if break_s is None else break_s

    def end(self, outcome: Outcome) -> CircuitState:
        """Where the ending of one leads: HALF_OPEN while it is not decided yet."""
        self.under_way -= 1
        is_success = outcome is Outcome.SUCCESS
        if not is_success and outcome not in FAILURES:
            return CircuitState.HALF_OPEN
        self.successes += is_success
        closing = self._config.closing
        if closing is None:
            is_over, has_failed = self.successes >= self._config.success_threshold, not is_success
        else:
            self._score += closing.down if is_success else closing.up
            is_over, has_failed = self._score <= _CLOSING_SCORE, self._score > 0
        if has_failed:
            return CircuitState.OPEN
        return CircuitState.CLOSED if is_over else CircuitState.HALF_OPEN
