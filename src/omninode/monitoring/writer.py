"""From the bus to the spool: every event that has a table becomes a row, and what does not arrive is counted.

Nothing that emits ever waits for the database: it tells the bus, the bus feeds the writer, the writer fills the spool.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from omninode.core.events import Event, MetricRecorded
from omninode.monitoring.rows import Row, row_of
from omninode.telemetry.bus import EventBus, Subscription

__all__ = ["EventWriter", "RowSpool", "WriterStatistics"]

_MAX_GAUGES = 4096


class RowSpool(Protocol):
    """Where rows wait for the database; `key` names the column by which a later row replaces an earlier one."""

    def put(self, table: str, row: Row, *, key: str | None = None) -> object:
        """Take the row at once; False when it had to be dropped."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterStatistics:
    """Rows handed to the spool per table, and what never got there, per event class."""

    written: Mapping[str, int]
    refused: Mapping[str, int]
    failed: Mapping[str, int]
    thinned: int
    last_error: str | None

    @property
    def lost(self) -> int:
        """Rows that will never be in the database, as far as the writer knows."""
        return sum(self.refused.values()) + sum(self.failed.values())


class EventWriter:
    """Puts a row into the spool for every event that has a table.

    Gauges (measurements labelled `"gauge": true`, such as the memory in use, taken every second) are thinned to one
    row per `gauge_interval_s` and name; everything else is kept. What the spool refuses is counted. Events of the
    tables `without` are let go uncounted.
    """

    def __init__(
        self,
        bus: EventBus | None,
        spool: RowSpool,
        *,
        gauge_interval_s: float = 10.0,
        without: frozenset[str] = frozenset(),
    ) -> None:
        self._spool = spool
        self._without = without
        self._gauge_interval_ns = int(gauge_interval_s * 1e9)
        self._gauges: dict[tuple[str, str], int] = {}
        self._written: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._thinned = 0
        self._last_error: str | None = None
        self._subscription: Subscription | None = None if bus is None else bus.subscribe(self.write, name="writer")

    def write(self, event: Event) -> None:
        """Put the event's row into the spool, when it has one. Never raises."""
        kind = type(event).__name__
        if isinstance(event, MetricRecorded) and not self._is_due(event):
            self._thinned += 1
            return
        try:
            mapped = row_of(event)
            if mapped is None or mapped[0] in self._without:
                return
            table, row = mapped
            taken = self._spool.put(table, row, key="id" if table == "runs" else None)
        except Exception as error:  # noqa: BLE001 - border: background loop
            self._failed[kind] += 1
            self._last_error = f"{kind}: {error}"
            return
        if taken is False:
            self._refused[kind] += 1
        else:
            self._written[table] += 1

    def close(self) -> None:
        """Take no more events; doing it twice is harmless."""
        if self._subscription is not None:
            self._subscription.cancel()

    def statistics(self) -> WriterStatistics:
        """Counts since the writer was made."""
        return WriterStatistics(
            written=dict(self._written),
            refused=dict(self._refused),
            failed=dict(self._failed),
            thinned=self._thinned,
            last_error=self._last_error,
        )

    def _is_due(self, event: MetricRecorded) -> bool:
        if not event.labels.get("gauge"):
            return True
        key = (event.metric, str(event.labels.get("of", "")))
        last = self._gauges.get(key)
        if last is not None and 0 <= event.at_ns - last < self._gauge_interval_ns:
            return False
        if last is not None or len(self._gauges) < _MAX_GAUGES:
            self._gauges[key] = event.at_ns
        return True
