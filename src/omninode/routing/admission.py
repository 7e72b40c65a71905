"""How many calls a deployment takes at once.

The cap is a bulkhead, held for a whole call with its retries: a call that waits to try again still occupies its
place, so that a deployment in trouble is not also flooded. A full deployment is asked last, and refused only when
its waiting line is full as well.
"""

from __future__ import annotations

from omninode.core.clock import Clock
from omninode.core.events import EventSink
from omninode.resilience.bulkhead import Bulkhead, BulkheadConfig, BulkheadStatistics

__all__ = ["Admission"]


class Admission:
    """The places of one deployment: `max_concurrency` calls at once, `max_queue` callers waiting."""

    def __init__(
        self,
        name: str,
        *,
        max_concurrency: int,
        max_queue: int,
        clock: Clock | None = None,
        sink: EventSink | None = None,
    ) -> None:
        config = BulkheadConfig(max_concurrent=max_concurrency, max_queue=max_queue)
        self.bulkhead = Bulkhead(name, config, clock=clock, sink=sink)
        self._max_concurrency = max_concurrency

    @property
    def has_room(self) -> bool:
        """Whether a call would begin at once."""
        counts = self.bulkhead.statistics()
        return counts.running < self._max_concurrency and not counts.waiting

    def statistics(self) -> BulkheadStatistics:
        """How full it is, and what it has done."""
        return self.bulkhead.statistics()
