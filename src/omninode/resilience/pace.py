"""How fast waiting calls are let go once a breaker has closed: as many more as are seen to go well.

All who waited would come back at once, to a target that just recovered. Each that goes costs a token, and how it ends
gives tokens back: two for a success, so that the number under way doubles with every round of answers; a part of one
for a quick failure, because failures are told sooner than answers and would soon be all that is heard; none for a slow
or throttled one. After failures that were mostly slow a success gives little more than it cost: the target was
overloaded, and would be so again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

from omninode.core.clock import Clock, SystemClock
from omninode.resilience.breaker import CircuitBreaker
from omninode.resilience.called import called
from omninode.resilience.circuit import CircuitState
from omninode.resilience.classify import FAILURES, Outcome, outcome_of

__all__ = ["Pace"]

P = ParamSpec("P")
T = TypeVar("T")

_SLOW = frozenset({Outcome.TIMEOUT, Outcome.OVERLOAD})
# How fast the share of slow failures is learned, and from where on the target counts as overloaded.
_LEARNING, _OVERLOADED_FROM = 0.05, 0.5
_FIRST_TOKENS, _MOST_TOKENS = 3.0, 10.0
_PER_SUCCESS, _PER_SUCCESS_AFTER_OVERLOAD, _PER_FAILURE = 2.0, 1.2, 0.6
# Without an attempt under way nothing would give a token back.
_PER_SECOND = 1.0


class Pace:
    """The pace of the target of `breaker`; `listen` goes around each attempt at it."""

    __slots__ = ("_breaker", "_clock", "_looked_at", "_slow_share", "_tokens")

    def __init__(self, breaker: CircuitBreaker, *, clock: Clock | None = None) -> None:
        self._breaker = breaker
        self._clock = clock or SystemClock()
        self._looked_at = self._clock.monotonic()
        self._slow_share = 0.0
        self._tokens = _FIRST_TOKENS

    @property
    def is_slow(self) -> bool:
        """Whether the latest failures were mostly slow or throttled."""
        return self._slow_share >= _OVERLOADED_FROM

    async def listen(self, func: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """What `func(*args, **kwargs)` returns; how it ends sets the pace."""
        try:
            value = await called(func, *args, **kwargs)
        except BaseException as error:
            outcome = outcome_of(self._breaker.config.classify, error)
            if outcome in FAILURES:
                self._slow_share += _LEARNING * ((outcome in _SLOW) - self._slow_share)
            if outcome not in _SLOW:
                self._give(_PER_FAILURE if outcome in FAILURES else 1.0)
            raise
        self._give(_PER_SUCCESS_AFTER_OVERLOAD if self.is_slow else _PER_SUCCESS)
        return value

    def may_go(self) -> bool:
        """Whether one call may go now; takes the token it costs. A second gives one token, whatever happens.

        While the breaker is not closed it costs none: the breaker lets through no more than its probes.
        """
        now = self._clock.monotonic()
        self._give(_PER_SECOND * max(0.0, now - self._looked_at))
        self._looked_at = now
        if self._breaker.state is not CircuitState.CLOSED:
            self._tokens = min(self._tokens, _FIRST_TOKENS)
            return True
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def _give(self, tokens: float) -> None:
        self._tokens = min(_MOST_TOKENS, self._tokens + tokens)
