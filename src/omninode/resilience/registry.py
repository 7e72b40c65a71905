"""Breakers by name: the same name means the same breaker."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from omninode.core import ambient, current
from omninode.core.clock import Clock, SystemClock
from omninode.core.errors import InvalidArgumentError
from omninode.core.events import EventSink
from omninode.resilience.breaker import CircuitBreaker
from omninode.resilience.circuit import BreakerStatistics, CircuitBreakerConfig, CircuitState
from omninode.resilience.ranges import require_count
from omninode.resilience.seeds import seed_of
from omninode.resilience.snapshot import BreakerSnapshot

__all__ = ["BreakerRegistry", "call_with_breaker"]

T = TypeVar("T")

_ATTRIBUTE = "_omninode_breakers"


class BreakerRegistry:
    """Makes breakers on demand and keeps at most `max_size` of them.

    When it is full, the one unused for longest makes room, a closed one before an open one; `evicted` counts them.
    With a `seed` the lengths of breaks are repeatable.
    """

    def __init__(
        self,
        config: CircuitBreakerConfig | None = None,
        clock: Clock | None = None,
        sink: EventSink | None = None,
        max_size: int = 1000,
        *,
        seed: int | None = None,
    ) -> None:
        require_count("BreakerRegistry", "max_size", max_size, at_least=1)
        self._config = config or CircuitBreakerConfig()
        self._clock = clock or SystemClock()
        self._sink = sink
        self._max_size = max_size
        self._seed = seed
        self._breakers: OrderedDict[str, CircuitBreaker] = OrderedDict()
        self._restorable: dict[str, BreakerSnapshot] = {}
        self._sensitive_until: dict[str, float] = {}
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._breakers)

    def get(self, name: str, config: CircuitBreakerConfig | None = None) -> CircuitBreaker:
        """The breaker called `name`, made with `config` (or the registry's) when there is none yet.

        Raises InvalidArgumentError when it exists with another configuration: two places that disagree about one
        breaker are a mistake that would otherwise show as a breaker that opens too late.
        """
        breaker = self._breakers.get(name)
        if breaker is None:
            return self._make(name, config or self._config)
        self._breakers.move_to_end(name)
        if config is not None and config is not breaker.config and config != breaker.config:
            raise InvalidArgumentError(
                f"breaker {name!r} exists with another configuration; "
                f"use one configuration or two names (it has {breaker.config}, asked for {config})"
            )
        return breaker

    def statistics(self) -> tuple[BreakerStatistics, ...]:
        """Those of every breaker, by name."""
        return tuple(self._breakers[name].statistics() for name in sorted(self._breakers))

    def snapshots(self) -> tuple[BreakerSnapshot, ...]:
        """Those of every breaker, by name."""
        return tuple(self._breakers[name].snapshot() for name in sorted(self._breakers))

    def restore(self, snapshots: Iterable[BreakerSnapshot]) -> None:
        """Take up the states of `snapshots`; a breaker that does not exist yet takes up its own when it is made."""
        for snapshot in snapshots:
            breaker = self._breakers.get(snapshot.name)
            if breaker is not None:
                breaker.restore(snapshot)
            elif len(self._restorable) < self._max_size:
                self._restorable[snapshot.name] = snapshot

    def sensitise(self, name: str, *, lasts_s: float) -> bool:
        """Let the breaker called `name` open on less evidence for `lasts_s` seconds; 0 ends that.

        For when it is open in another process. Nothing opens by this alone. One that is open or half open here is
        left alone, because it finds out for itself; one that does not exist yet is told when it is made.

        Returns:
            Whether a closed breaker of that name is here to be told.
        """
        self._sensitive_until.pop(name, None)
        breaker = self._breakers.get(name)
        if breaker is not None:
            if breaker.state is CircuitState.CLOSED:
                breaker.detector.sensitise(lasts_s)
            return breaker.state is CircuitState.CLOSED
        if lasts_s > 0:
            while len(self._sensitive_until) >= self._max_size:
                del self._sensitive_until[next(iter(self._sensitive_until))]
            self._sensitive_until[name] = self._clock.monotonic() + lasts_s
        return False

    def _make(self, name: str, config: CircuitBreakerConfig) -> CircuitBreaker:
        while len(self._breakers) >= self._max_size:
            self._evict()
        breaker = CircuitBreaker(name, config, clock=self._clock, sink=self._sink, seed=seed_of(self._seed, name))
        self._breakers[name] = breaker
        snapshot = self._restorable.pop(name, None)
        if snapshot is not None:
            breaker.restore(snapshot)
        until = self._sensitive_until.pop(name, None)
        if until is not None and breaker.state is CircuitState.CLOSED:
            breaker.detector.sensitise(until - self._clock.monotonic())
        return breaker

    def _evict(self) -> None:
        closed = (name for name, breaker in self._breakers.items() if breaker.state is CircuitState.CLOSED)
        name = next(closed, None) or next(iter(self._breakers))
        del self._breakers[name]
        self.evicted += 1


async def call_with_breaker(
    breaker_name: str,
    config: CircuitBreakerConfig | None,
    func: Callable[..., Awaitable[T]],
    # Any: whatever `func` takes; the document's keyword form rules out ParamSpec here.
    *args: Any,
    **kwargs: Any,
) -> T:
    """What `func(*args, **kwargs)` returns, guarded by the breaker called `breaker_name`.

    Two calls with one name share one breaker. It comes from the open runtime; without one, from a registry that hangs
    on the running event loop (guarding a call must not wait for a database, so this opens no runtime). The name is all the caller gives, so something that outlives the call must hold the
    state, and of the places there are the loop is the least bad: unlike a module-level registry it ends with its
    program or test, is never touched by two threads, and leaves nothing behind in this module; its price is that
    several `asyncio.run` in one process do not share. Where they should, keep a `BreakerRegistry` and use
    `registry.get(name).call(func)`.

    Args:
        breaker_name: one per target, such as "payments-api".
        config: how to decide; None for the defaults of the registry.
        func: an async function.

    Raises:
        BreakerOpenError: refused; `retry_after_s` says when to ask again.
        InvalidArgumentError: the breaker exists with another configuration.
    """
    return await _registry().get(breaker_name, config).call(func, *args, **kwargs)


def _registry() -> BreakerRegistry:
    loop = asyncio.get_running_loop()
    own: BreakerRegistry | None = getattr(loop, _ATTRIBUTE, None)
    # Once the loop has a registry, a runtime that is opened later by itself must not split a breaker in two.
    runtime = current.scope().runtime if own is not None else ambient.find()
    if runtime is not None:
        # Any: core cannot name the type of the runtime, a room above this one.
        registry: BreakerRegistry = runtime.breakers
        return registry
    if own is None:
        own = BreakerRegistry()
        setattr(loop, _ATTRIBUTE, own)
    return own
