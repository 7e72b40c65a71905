"""Many viewers of one page ask the database once: a panel is kept for two seconds, and loaded by one at a time."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable

from omninode.core.clock import Clock
from omninode.server.pages.question import Panel

__all__ = ["PanelCache"]

_KEPT_S = 2.0
_LIMIT = 64


class PanelCache:
    """Panels by what was asked; at most 64, the oldest goes first. Errors are not kept."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._kept: OrderedDict[Hashable, tuple[float, Panel]] = OrderedDict()
        self._locks: dict[Hashable, asyncio.Lock] = {}

    async def get(self, key: Hashable, load: Callable[[], Awaitable[Panel]]) -> Panel:
        """The panel for `key`, from here or from `load`."""
        lock = self._locks.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                entry = self._kept.get(key)
                if entry is not None and self._clock.monotonic() - entry[0] < _KEPT_S:
                    return entry[1]
                panel = await load()
                self._kept[key] = (self._clock.monotonic(), panel)
                self._kept.move_to_end(key)
                if len(self._kept) > _LIMIT:
                    self._kept.popitem(last=False)
                return panel
        finally:
            # The last one out forgets the lock; those who wait hold a reference of their own.
            if not lock.locked():
                self._locks.pop(key, None)
