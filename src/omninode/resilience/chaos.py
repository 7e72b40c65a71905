"""Injected trouble: errors, delays and hangs, drawn from a seed, to see what a program makes of them."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from omninode.core.clock import Clock, SystemClock
from omninode.core.errors import InvalidArgumentError
from omninode.core.events import EventSink
from omninode.resilience.called import called
from omninode.resilience.ranges import require_callable, require_seconds, require_share
from omninode.resilience.telling import Spell

__all__ = ["Chaos", "ChaosConfig", "ChaosStatistics"]

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger(__name__)

_LONG_S = 86_400.0


def _always() -> bool:
    return True


def _broken() -> Exception:
    return ConnectionError("injected by chaos")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChaosConfig:
    """What goes wrong, as shares of the attempts; together at most 1.

    Args:
        errors: share that fails at once with `error()`, a ConnectionError unless given.
        hangs: share that never answers, until something cancels it.
        delays: share that is made `delay_s` seconds later.
        is_enabled: asked before each attempt, so that trouble can be switched on and off while running; one that
            raises makes none, and is logged once.
        seed: the same seed gives the same trouble to the same sequence of attempts.
    """

    errors: float = 0.0
    hangs: float = 0.0
    delays: float = 0.0
    delay_s: float = 1.0
    error: Callable[[], Exception] = _broken
    is_enabled: Callable[[], bool] = _always
    seed: int | None = None

    def __post_init__(self) -> None:
        for name in ("errors", "hangs", "delays"):
            require_share("ChaosConfig", name, getattr(self, name))
        require_callable("ChaosConfig", "error", self.error)
        require_callable("ChaosConfig", "is_enabled", self.is_enabled)
        require_seconds("ChaosConfig", "delay_s", self.delay_s, positive=False)
        if self.errors + self.hangs + self.delays > 1.0 + 1e-9:
            raise InvalidArgumentError("ChaosConfig: errors, hangs and delays make more than 1 together; lower one")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChaosStatistics:
    """What trouble was made since the part was."""

    attempts: int
    """Attempts that came by while it was switched on."""
    errors: int
    hangs: int
    delays: int

    @property
    def injected(self) -> int:
        """Attempts that met trouble of any kind."""
        return self.errors + self.hangs + self.delays


class Chaos:
    """Troubles calls of the policy called `name`."""

    def __init__(
        self, config: ChaosConfig, *, name: str = "", clock: Clock | None = None, sink: EventSink | None = None
    ) -> None:
        self.config = config
        self._clock = clock or SystemClock()
        self._random = random.Random(config.seed)  # noqa: S311 - repeatable on purpose
        self._spell = Spell(sink, self._clock, metric="chaos_count", name=name, part="chaos")
        self._is_broken = False
        self._attempts = self._errors = self._hangs = self._delays = 0

    async def call(self, func: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """What `func(*args, **kwargs)` returns, unless trouble was drawn for it."""
        if self._is_enabled():
            await self._trouble()
        return await called(func, *args, **kwargs)

    def statistics(self) -> ChaosStatistics:
        """What it has done so far."""
        return ChaosStatistics(attempts=self._attempts, errors=self._errors, hangs=self._hangs, delays=self._delays)

    def _is_enabled(self) -> bool:
        try:
            return self.config.is_enabled()
        except Exception as error:  # noqa: BLE001 - border: user-supplied callback; a broken switch makes no trouble
            if not self._is_broken:
                _log.warning("the switch of a chaos part failed with %r; no trouble is made while it does", error)
            self._is_broken = True
            return False

    async def _trouble(self) -> None:
        config = self.config
        self._attempts += 1
        drawn = self._random.random()
        if drawn >= config.errors + config.hangs + config.delays:
            if self._spell.is_on:
                self._spell.ease()
            return
        self._spell.strike()
        if drawn < config.errors:
            self._errors += 1
            raise config.error()
        if drawn < config.errors + config.hangs:
            self._hangs += 1
            await self._clock.sleep(_LONG_S)
        else:
            self._delays += 1
            await self._clock.sleep(config.delay_s)
