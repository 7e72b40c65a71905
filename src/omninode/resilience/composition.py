"""The parts of one policy, made and checked; what is asked of them all together is asked here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from omninode.core.clock import Clock
from omninode.core.errors import InvalidArgumentError
from omninode.core.events import EventSink, shielded
from omninode.resilience.adaptive import AdaptiveAttempts, AdaptiveTimeout
from omninode.resilience.breaker import CircuitBreaker
from omninode.resilience.bulkhead import Bulkhead, BulkheadConfig
from omninode.resilience.circuit import CircuitBreakerConfig
from omninode.resilience.explain import breaker_line, bulkhead_line, explained, fallback_line, park_line, retry_line
from omninode.resilience.fallback import Fallback
from omninode.resilience.outcome import PolicyStatistics, Tally
from omninode.resilience.ranges import require_callable, require_kind, require_methods, require_seconds
from omninode.resilience.retry import RetryManager
from omninode.resilience.schedule import RetryConfig
from omninode.resilience.seeds import seed_of
from omninode.resilience.stack import Extras, Stack
from omninode.resilience.timeout import AttemptTimeout

if TYPE_CHECKING:
    from omninode.resilience.blocking import Blocking
    from omninode.resilience.streaming import Streaming

__all__ = ["Composition", "Settings", "composed"]

S_co = TypeVar("S_co", covariant=True)

_KINDS: dict[str, tuple[type, ...]] = {
    "retry": (RetryConfig,),
    "breaker": (CircuitBreakerConfig, CircuitBreaker, type(None)),
    "bulkhead": (BulkheadConfig, Bulkhead, type(None)),
}


class _Counting(Protocol[S_co]):
    def statistics(self) -> S_co: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a policy was asked to be. See `Policy` for what each means."""

    name: str
    deadline_s: float | None
    attempt_timeout_s: float | AdaptiveTimeout | None
    retry: RetryConfig
    breaker: CircuitBreakerConfig | CircuitBreaker | None
    bulkhead: BulkheadConfig | Bulkhead | None
    # Any: see `Fallback`.
    fallback: Fallback | Callable[..., Any] | None
    extras: Extras
    clock: Clock
    sink: EventSink | None
    seed: int | None = None

    def __post_init__(self) -> None:
        owner = f"policy {self.name!r}"
        if self.deadline_s is not None:
            require_seconds(owner, "deadline_s", self.deadline_s)
        for name, kinds in _KINDS.items():
            require_kind(owner, name, getattr(self, name), *kinds)
        if not self.extras.is_empty:
            _require_extras(owner, self.extras)
        if self.fallback is not None and not isinstance(self.fallback, Fallback):
            require_callable(owner, "fallback", self.fallback)
        require_methods(owner, "clock", self.clock, "monotonic", "now", "sleep")
        if self.sink is not None:
            require_methods(owner, "sink", self.sink, "emit")


def _require_extras(owner: str, extras: Extras) -> None:
    # Here because they are loaded for those who have one, see `Stack`.
    from omninode.resilience.chaos import ChaosConfig
    from omninode.resilience.hedge import Hedge
    from omninode.resilience.limiter import Adaptive
    from omninode.resilience.pace import Pace
    from omninode.resilience.parking import Park
    from omninode.resilience.rate import Rate
    from omninode.resilience.soft import SoftTimeout
    from omninode.resilience.throttle import Throttle

    require_kind(owner, "park", extras.park, Park, type(None))
    require_kind(owner, "hedge", extras.hedge, Hedge, type(None))
    require_kind(owner, "throttle", extras.throttle, Throttle, type(None))
    require_kind(owner, "rate", extras.rate, Rate, type(None))
    require_kind(owner, "limit", extras.limit, Adaptive, type(None))
    require_kind(owner, "soft_timeout", extras.soft_timeout, SoftTimeout, type(None))
    require_kind(owner, "chaos", extras.chaos, ChaosConfig, type(None))
    require_kind(owner, "pace", extras.pace, Pace, type(None))


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """What a policy is made of; `timeout` is that of an attempt, and `streaming_timeout` that of an item of a stream."""

    name: str
    clock: Clock
    sink: EventSink | None
    deadline_s: float | None
    timeout: AttemptTimeout
    streaming_timeout: AttemptTimeout
    retry: RetryManager
    breaker: CircuitBreaker | None
    bulkhead: Bulkhead | None
    fallback: Fallback | None
    stack: Stack
    tally: Tally
    lock: Lock

    @property
    def is_common(self) -> bool:
        """Whether it has only parts that a compiled frame knows."""
        return self.bulkhead is None and self.stack.extras.is_empty and not self.is_adaptive

    @property
    def is_adaptive(self) -> bool:
        """Whether the limit of an attempt is learned."""
        return isinstance(self.timeout, AdaptiveAttempts)

    # Any: named in the message, nothing else.
    def blocking(self, func: Any) -> Blocking:
        """The same for plain functions. Raises InvalidArgumentError, naming `func`, when it cannot be."""
        if self.bulkhead is not None or self.streaming_timeout.seconds is not None or not self.stack.extras.is_empty:
            raise InvalidArgumentError(
                f"policy {self.name!r} has parts that need an event loop, and {func!r} is a plain function; "
                "write `async def`, or use a policy of fallback, deadline, retry and breaker alone"
            )
        from omninode.resilience.blocking import Blocking

        return Blocking(
            name=self.name,
            manager=self.retry,
            breaker=self.breaker,
            deadline_s=self.deadline_s,
            fallback=self.fallback,
            clock=self.clock,
            tally=self.tally,
            lock=self.lock,
        )

    # Any: see `blocking`.
    def streaming(self, func: Any) -> Streaming:
        """The same for async generators. Raises InvalidArgumentError, naming `func`, when it cannot be."""
        extras = self.stack.extras
        if self.fallback or extras.hedge or extras.limit or extras.soft_timeout or self.is_adaptive:
            raise InvalidArgumentError(
                f"policy {self.name!r} has a hedge, a limit, a soft or adaptive timeout or a fallback, which a stream such as "
                f"{func!r} cannot have; use a policy without"
            )
        from omninode.resilience.streaming import Streaming

        return Streaming(
            name=self.name,
            manager=self.retry,
            breaker=self.breaker,
            bulkhead=self.bulkhead,
            stack=self.stack,
            timeout=self.streaming_timeout,
            deadline_s=self.deadline_s,
            clock=self.clock,
            tally=self.tally,
        )

    def statistics(self) -> PolicyStatistics:
        """What went through it so far, and through each of its parts."""
        tally, stack, smooth = self.tally, self.stack, self.retry.smooth
        return PolicyStatistics(
            name=self.name,
            calls=tally.calls + smooth,
            succeeded=tally.succeeded + smooth,
            failed=tally.failed - tally.degraded,
            degraded=tally.degraded,
            cancelled=tally.cancelled,
            retry=self.retry.statistics(),
            attempt_timeout=self.timeout.statistics(),
            breaker=_told(self.breaker),
            bulkhead=_told(self.bulkhead),
            fallback=_told(self.fallback),
            parking=_told(stack.parking),
            hedge=_told(stack.hedging),
            throttle=_told(stack.throttling),
            rate=_told(stack.rate),
            limit=_told(stack.limit),
            soft_timeout=_told(stack.soft),
            chaos=_told(stack.chaos),
        )

    def explain(self) -> str:
        """See `Policy.explain`."""
        own = {
            "fallback": fallback_line(self.fallback),
            "deadline": f"deadline: {self.deadline_s:g} s for all attempts and waits" if self.deadline_s else "",
            "park": park_line(self.stack.extras.park),
            "bulkhead": bulkhead_line(self.bulkhead),
            "retry": retry_line(self.retry.config),
            "breaker": breaker_line(self.breaker),
            "attempt timeout": f"attempt timeout: {self.timeout}" if self.timeout.seconds else "",
            "call": f"call: {self.name}",
        }
        return explained(own, self.stack)


def composed(settings: Settings) -> Composition:
    """The parts that `settings` ask for. Raises InvalidArgumentError for settings that make no sense together."""
    name, clock, sink, seed = settings.name, settings.clock, shielded(settings.sink), settings.seed
    breaker, bulkhead, fallback = settings.breaker, settings.bulkhead, settings.fallback
    if isinstance(breaker, CircuitBreakerConfig):
        breaker = CircuitBreaker(name, breaker, clock=clock, sink=sink, seed=seed_of(seed, "breaker"))
    if isinstance(bulkhead, BulkheadConfig):
        bulkhead = Bulkhead(name, bulkhead, clock=clock, sink=sink)
    if fallback is not None and not isinstance(fallback, Fallback):
        fallback = Fallback(fallback)
    timeout, streaming_timeout = _timeouts(settings)
    is_timed = timeout.seconds is not None
    return Composition(
        name=name,
        clock=clock,
        sink=sink,
        deadline_s=settings.deadline_s,
        timeout=timeout,
        streaming_timeout=streaming_timeout,
        retry=RetryManager(
            settings.retry,
            clock=clock,
            sink=sink,
            seed=seed_of(seed, "retry"),
            name=name,
            bounds_attempts=not is_timed,
        ),
        breaker=breaker,
        bulkhead=bulkhead,
        fallback=fallback,
        stack=Stack(
            name,
            settings.extras,
            breaker=breaker,
            timeout=timeout,
            clock=clock,
            sink=sink,
            classify=settings.retry.classify if breaker is None else breaker.config.classify,
            seed=seed,
        ),
        tally=Tally(),
        lock=Lock(),
    )


def _timeouts(settings: Settings) -> tuple[AttemptTimeout, AttemptTimeout]:
    """The limit of an attempt and that of an item of a stream, which differ where the deadline is the shorter."""
    own, deadline_s = settings.attempt_timeout_s, settings.deadline_s
    if isinstance(own, AdaptiveTimeout):
        if deadline_s is not None and deadline_s < own.at_most_s:
            own = replace(own, at_least_s=min(own.at_least_s, deadline_s), at_most_s=deadline_s)
        timeout: AttemptTimeout = AdaptiveAttempts(settings.name, own, clock=settings.clock, sink=settings.sink)
        return timeout, timeout
    timeout = AttemptTimeout(settings.name, _shorter(own, deadline_s))
    return timeout, timeout if timeout.seconds == own else AttemptTimeout(settings.name, own)


def _shorter(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)


def _told(part: _Counting[S_co] | None) -> S_co | None:
    return None if part is None else part.statistics()
