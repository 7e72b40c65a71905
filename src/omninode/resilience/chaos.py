"""Injected trouble: errors, delays and hangs, drawn from a seed, to see what a program makes of them."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from omninode.core.clock import Clock, SystemClock
from omninode.core.errors import InvalidArgumentError
from omninode.resilience.called import called
from omninode.resilience.ranges import require_seconds, require_share

__all__ = ["Chaos", "ChaosConfig"]

P = ParamSpec("P")
T = TypeVar("T")

_LONG_S = 86_400.0


def _always() -> bool:
    return True


def _broken() -> Exception:
    return ConnectionError("injected by chaos")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChaosConfig:
    """What goes wrong, as shares of the attempts; together at most 1.

    Args:
        errors: fail at once with `error()`.
        hangs: never answer, until something cancels them.
        delays: answer `delay_s` later.
        is_enabled: asked before each attempt, so that trouble can be switched on and off while running.
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
        require_seconds("ChaosConfig", "delay_s", self.delay_s, positive=False)
        if self.errors + self.hangs + self.delays > 1.0 + 1e-9:
            raise InvalidArgumentError("ChaosConfig: errors, hangs and delays make more than 1 together; lower one")


class Chaos:
    """Troubles calls; `injected` counts."""

    def __init__(self, config: ChaosConfig, *, clock: Clock | None = None) -> None:
        self.config = config
        self._clock = clock or SystemClock()
        self._random = random.Random(config.seed)  # noqa: S311 - repeatable on purpose
        self.injected = 0

    async def call(self, func: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """What `func(*args, **kwargs)` returns, unless trouble was drawn for it."""
        config = self.config
        if config.is_enabled():
            drawn = self._random.random()
            if drawn < config.errors + config.hangs + config.delays:
                self.injected += 1
                if drawn < config.errors:
                    raise config.error()
                is_hang = drawn < config.errors + config.hangs
                await self._clock.sleep(_LONG_S if is_hang else config.delay_s)
        return await called(func, *args, **kwargs)
