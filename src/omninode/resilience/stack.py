"""The optional parts of a policy, made from their settings and put in their one order.

Around the whole call: parking. Around each attempt, outermost first: hedge, throttle, rate, limit, breaker (with a soft
timeout or without), the ear that learns the pace of parking, attempt timeout, chaos.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from omninode.core.clock import Clock
from omninode.core.errors import InvalidArgumentError
from omninode.core.events import EventSink
from omninode.resilience.breaker import CircuitBreaker
from omninode.resilience.classify import Classifier
from omninode.resilience.seeds import seed_of
from omninode.resilience.timeout import AttemptTimeout

if TYPE_CHECKING:
    from omninode.resilience.chaos import Chaos, ChaosConfig
    from omninode.resilience.hedge import Hedge, Hedging
    from omninode.resilience.limiter import Adaptive, AdaptiveLimit
    from omninode.resilience.pace import Pace
    from omninode.resilience.parking import Park, Parking
    from omninode.resilience.rate import Rate, RateLimit
    from omninode.resilience.soft import SoftlyTimed, SoftTimeout
    from omninode.resilience.throttle import Throttle, Throttling

__all__ = ["Extras", "Part", "Stack", "configured"]

_S = TypeVar("_S")
_R = TypeVar("_R")

# Any: a part is handed another part and that part's arguments; only the public methods know the types at both ends.
Part = Callable[..., Awaitable[Any]]


class _Callable(Protocol):
    @property
    def call(self) -> Part: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Extras:
    """The settings of the parts that a policy may have besides the usual ones."""

    park: Park | None = None
    hedge: Hedge | None = None
    throttle: Throttle | None = None
    rate: Rate | None = None
    limit: Adaptive | None = None
    soft_timeout: SoftTimeout | None = None
    chaos: ChaosConfig | None = None
    pace: Pace | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there are none."""
        return self == Extras()


class Stack:
    """The optional parts of one policy. Raises InvalidArgumentError for settings that make no sense together."""

    def __init__(  # noqa: PLR0913 - what the parts are made with; it does not travel further
        self,
        name: str,
        extras: Extras,
        *,
        breaker: CircuitBreaker | None,
        timeout: AttemptTimeout,
        clock: Clock,
        sink: EventSink | None,
        classify: Classifier,
        seed: int | None = None,
    ) -> None:
        for part in ("park", "soft_timeout"):
            if breaker is None and getattr(extras, part) is not None:
                raise InvalidArgumentError(f"policy {name!r}: {part} works on a breaker and there is none; add one")
        self.extras = extras
        self._breaker, self._timeout = breaker, timeout
        self._pace = extras.pace
        self.parking: Parking | None = None
        self.hedging: Hedging | None = None
        self.throttling: Throttling | None = None
        self.rate: RateLimit | None = None
        self.limit: AdaptiveLimit | None = None
        self.soft: SoftlyTimed | None = None
        self.chaos: Chaos | None = None
        if not extras.is_empty:
            self._make(name, clock=clock, sink=sink, classify=classify, seed=seed)

    def _make(self, name: str, *, clock: Clock, sink: EventSink | None, classify: Classifier, seed: int | None) -> None:
        """Make the parts that are configured."""
        # Here because most policies have none of them, and they would be a third of what `Policy` loads.
        from omninode.resilience.chaos import Chaos
        from omninode.resilience.hedge import Hedging
        from omninode.resilience.limiter import AdaptiveLimit
        from omninode.resilience.pace import Pace
        from omninode.resilience.parking import Parking
        from omninode.resilience.rate import RateLimit
        from omninode.resilience.soft import SoftlyTimed
        from omninode.resilience.throttle import Throttling

        extras, breaker = self.extras, self._breaker
        if extras.park is not None and breaker is not None:
            self._pace = pace = extras.pace or Pace(breaker, clock=clock)
            luck = seed_of(seed, "parking")
            self.parking = Parking(name, extras.park, paces=(pace,), clock=clock, sink=sink, seed=luck)
        self.hedging = _made(extras.hedge, lambda it: Hedging(name, it, clock=clock, sink=sink, classify=classify))
        self.throttling = _made(
            extras.throttle,
            lambda it: Throttling(name, it, clock=clock, sink=sink, classify=classify, seed=seed_of(seed, "throttle")),
        )
        self.rate = _made(extras.rate, lambda it: RateLimit(name, it, clock=clock, sink=sink))
        self.limit = _made(extras.limit, lambda it: AdaptiveLimit(name, it, clock=clock, sink=sink, classify=classify))
        if breaker is not None and extras.soft_timeout is not None:
            self.soft = SoftlyTimed(extras.soft_timeout, breaker, clock=clock, sink=sink)
        self.chaos = _made(extras.chaos, lambda it: Chaos(it, name=name, clock=clock, sink=sink))

    def around_attempts(self) -> tuple[Part, ...]:
        """The parts that every attempt passes, outermost first."""
        guard: _Callable | None = self._breaker if self.soft is None else self.soft
        pace, timeout = self._pace, self._timeout
        return configured(
            *(_call_of(part) for part in (self.hedging, self.throttling, self.rate, self.limit, guard)),
            None if pace is None else pace.listen,
            None if timeout.seconds is None else timeout.call,
            _call_of(self.chaos),
        )

    def around_openings(self) -> tuple[Part, ...]:
        """The parts around an attempt to open a stream, whose breaker is asked inside."""
        pace = self._pace
        return configured(
            _call_of(self.throttling),
            _call_of(self.rate),
            None if pace is None else pace.listen,
            _call_of(self.chaos),
        )

    def explain(self, name: str) -> str:
        """One line on the part called `name` in `Extras`, empty when there is none."""
        settings = getattr(self.extras, name)
        return f"{name.replace('_', ' ')}: {settings}" if settings is not None else ""


def configured(*parts: Part | None) -> tuple[Part, ...]:
    """Those of `parts` that there are."""
    return tuple(part for part in parts if part is not None)


def _call_of(part: _Callable | None) -> Part | None:
    return None if part is None else part.call


def _made(settings: _S | None, make: Callable[[_S], _R]) -> _R | None:
    return None if settings is None else make(settings)
