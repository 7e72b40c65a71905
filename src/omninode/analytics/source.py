"""Where the analytics read from: a database that was passed in, or that of the open runtime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from omninode.analytics.period import Period
from omninode.core import ambient
from omninode.core.clock import Clock, SystemClock
from omninode.core.events import EventSink

if TYPE_CHECKING:
    from omninode.storage.database import Database

__all__ = ["Analytics"]


class Analytics:
    """What every kind of analytics shares; without arguments it uses the open runtime, or one opened now
    (`core.ambient`).

    Any number of tasks may ask at once. What the database raises (DatabaseError, PoolExhaustedError) reaches the
    caller: an answer about the past without the past would be a guess.
    """

    def __init__(
        self,
        database: Database | None = None,
        *,
        sink: EventSink | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._given_database = database
        self._given_sink = sink
        self._clock = clock or SystemClock()

    async def _fetch(self, name: str, *args: object) -> Sequence[Any]:  # Any: the driver's rows
        return await (await self._database()).fetch(name, *args)

    async def _database(self) -> Database:
        return self._given_database or cast("Database", (await ambient.runtime()).database)

    async def _sink(self) -> EventSink | None:
        """Where outcomes are told; None when a database was passed, and nothing else: then they are written to it."""
        if self._given_sink is not None or self._given_database is not None:
            return self._given_sink
        return cast("EventSink", (await ambient.runtime()).sink)

    def _last(self, *, days: float = 0, hours: float = 0) -> Period:
        return Period.last(days=days, hours=hours, clock=self._clock)
