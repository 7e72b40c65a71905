"""What a page is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from omninode.analytics.period import Period
from omninode.core.errors import CallerError, DatabaseUnavailableError
from omninode.server.live import LiveFeed
from omninode.server.node import Node, Row
from omninode.server.window import Window
from omninode.storage.database import Database

__all__ = ["NotFoundError", "Panel", "Question"]

# Any: what the JSON endpoint answers and the template draws; each loader's docstring says what is in it.
Panel = dict[str, Any]


class NotFoundError(CallerError):
    """There is no such run or group; the message is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One request as the loaders see it."""

    node: Node
    feed: LiveFeed
    window: Window
    now: datetime
    path: Mapping[str, str]
    query: Mapping[str, str]

    @property
    def database(self) -> Database:
        """The store; raises DatabaseUnavailableError when the node has none."""
        if self.node.database is None:
            raise DatabaseUnavailableError("this node runs without a database")
        return self.node.database

    @property
    def period(self) -> Period:
        """The window as the analytics take it."""
        return Period(since=self.window.since, until=self.window.until)

    @property
    def elapsed_h(self) -> float:
        """How many hours of the window are over; rates are per hour of these."""
        return max(1e-6, (self.now - self.window.since).total_seconds() / 3600)

    async def rows(self, name: str, *args: object) -> Sequence[Row]:
        """The rows of a named statement."""
        # A record of the driver reads like a mapping without being declared one.
        return cast("Sequence[Row]", await self.database.fetch(name, *args))

    async def windowed(self, name: str, *args: object) -> Sequence[Row]:
        """The rows of a statement whose first two values are the window's ends."""
        return await self.rows(name, self.window.since, self.window.until, *args)
