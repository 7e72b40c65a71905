"""Following the store while somebody watches, so that runs of other processes are seen live too.

One statement a second for all viewers together, none when nobody watches. Rows arrive late (they wait in a spool), so
every look goes back a little further than the last one ended; the feed knows what it has shown.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import cast

from omninode.core.clock import Clock
from omninode.core.errors import OmniNodeError
from omninode.server.entries import entry_of_row
from omninode.server.live import LiveFeed
from omninode.server.node import Row
from omninode.storage.database import Database

__all__ = ["Tail"]

_log = logging.getLogger(__name__)
_INTERVAL_S = 1.0
_RETRY_S = 5.0
_OVERLAP = timedelta(seconds=15)
_BACKFILL = timedelta(hours=1)
_LIMIT = 300


class Tail:
    """Feeds `feed` from `database`; `error` says why the last look failed, None when it did not."""

    def __init__(self, database: Database, feed: LiveFeed, *, clock: Clock) -> None:
        self._database = database
        self._feed = feed
        self._clock = clock
        self._reached: datetime | None = None
        self.error: str | None = None

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            if self._feed.viewers:
                try:
                    await self.look()
                except Exception as error:  # noqa: BLE001 - border: background loop
                    _log.error("the live tail failed and tries again", exc_info=error)
                    self.error = f"{type(error).__name__}: {error}"
            await self._clock.sleep(_RETRY_S if self.error else _INTERVAL_S)

    async def look(self) -> int:
        """Take what is new; how many entries that were."""
        since = self._reached - _OVERLAP if self._reached else self._clock.now() - _BACKFILL
        try:
            # A record of the driver reads like a mapping without being declared one.
            rows = cast("list[Row]", await self._database.fetch("server_live.tail", since, _LIMIT))
        except (OmniNodeError, OSError) as error:
            self.error = f"{type(error).__name__}: {error}"
            return 0
        self.error = None
        for row in rows:
            self._reached = max(self._reached or row["ts"], row["ts"])
        return sum(self._feed.add(entry_of_row(row)) for row in reversed(rows))
