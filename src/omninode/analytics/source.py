"""Where the analytics read from: a database that was passed in, or that of the open runtime."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from omninode.analytics.period import Period
from omninode.core import current
from omninode.core.clock import Clock, SystemClock
from omninode.core.errors import ConfigurationError
from omninode.core.events import EventSink

if TYPE_CHECKING:
    from omninode.storage.database import Database

__all__ = ["Analytics"]


class Analytics:
    """What every kind of analytics shares; without arguments it uses the open runtime.

    Any number of tasks may ask at once. What the database raises (DatabaseError, PoolExhaustedError) reaches the
    caller: an answer about the past without the past would be a guess.
    """

    def __init__(
        self,
        database: Database | None = None,
        *,
        sink: EventSink | None = None,
        clock: Clock | None = None,
        opener: Callable[[], Awaitable[Database]] | None = None,
    ) -> None:
        """`opener` is asked for a database when none was passed and no runtime is open; it owns what it returns."""
        self._given_database = database
        self._opener = opener
        self._given_sink = sink
        self._clock = clock or SystemClock()

    async def _fetch(self, name: str, *args: object) -> Sequence[Any]:  # Any: the driver's rows
        return await (await self._database()).fetch(name, *args)

    async def _database(self) -> Database:
        found = self._given_database or getattr(current.scope().runtime, "database", None)
        if found is not None:
            return cast("Database", found)
        if self._opener is not None:
            return await self._opener()
        raise ConfigurationError(
            f"{type(self).__name__} has no database to read; pass database=…, or work inside "
            "`async with omninode.open()`"
        )

    def _sink_or_none(self) -> EventSink | None:
        if self._given_sink is not None or self._given_database is not None:
            return self._given_sink
        return cast("EventSink | None", getattr(current.scope().runtime, "sink", None))

    def _last(self, *, days: float = 0, hours: float = 0) -> Period:
        return Period.last(days=days, hours=hours, clock=self._clock)
