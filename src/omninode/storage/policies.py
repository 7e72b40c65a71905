"""What a spool promises of each table's rows: how soon they are safe, and what becomes of them when there is no room."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from omninode.core.errors import ConfigurationError

__all__ = ["DEFAULT_POLICIES", "Durability", "SpoolConfig", "TablePolicy", "WhenFull"]


class Durability(StrEnum):
    """What an accepted row survives. Both survive the end of the process, however it ends."""

    TELEMETRY = "telemetry"
    """The end of the machine too, but for the last `sync_interval_s`."""
    LEDGER = "ledger"
    """The end of the machine too: synced at once, together with what others wait for. `Spool.put_ledger` waits."""


class WhenFull(StrEnum):
    """What happens to a row when memory and disk have reached their bounds. Every dropped row is counted."""

    BLOCK = "block"
    """Whoever can wait does, until there is room or the deadline; `put`, which never waits, drops the row."""
    DROP_NEW = "drop_new"
    """The row is dropped."""
    DROP_OLDEST = "drop_oldest"
    """The oldest rows of the table go, a segment at a time; such a table has a track, and bounds, of its own."""
    SAMPLE = "sample"
    """From three quarters of the disk's bound on one row in `sample` is taken, at the bound none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TablePolicy:
    """The promise for one table."""

    durability: Durability = Durability.TELEMETRY
    when_full: WhenFull = WhenFull.DROP_NEW
    sample: int = 10

    def __post_init__(self) -> None:
        if self.sample < 1:
            raise ConfigurationError(f"sample is {self.sample}; one row in 1 or more is taken")
        if self.durability is Durability.LEDGER and self.when_full in {WhenFull.DROP_OLDEST, WhenFull.SAMPLE}:
            raise ConfigurationError(f"a ledger keeps what it took; {self.when_full} is for telemetry, use block")

    def as_ledger(self) -> TablePolicy:
        """The promise for a row of the table that somebody waits for: what may be thinned or displaced blocks instead."""
        keeps = self.when_full in {WhenFull.BLOCK, WhenFull.DROP_NEW}
        return TablePolicy(durability=Durability.LEDGER, when_full=self.when_full if keeps else WhenFull.BLOCK)


# Few rows say that a run exists and how it ended, so each is synced at once. Calls carry costs and are many; they come
# as events that nobody waits for, so a sync each would slow the disk for no promise: at most 0.2 s of them is at risk,
# and only when the machine itself goes down. Measurements are the first that a long outage may thin.
DEFAULT_POLICIES: Mapping[str, TablePolicy] = {
    "runs": TablePolicy(durability=Durability.LEDGER, when_full=WhenFull.BLOCK),
    "audit_log": TablePolicy(durability=Durability.LEDGER, when_full=WhenFull.BLOCK),
    "performance_metrics": TablePolicy(when_full=WhenFull.SAMPLE),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolConfig:
    """The bounds of a spool, each for every track (ledger, telemetry, one per DROP_OLDEST table), and its promises.

    Rows beyond the memory bounds are on disk only. What could not be written for `max_age_s` is dropped.
    """

    memory_rows: int = 20_000
    memory_bytes: int = 32 * 1024 * 1024
    disk_bytes: int = 1024 * 1024 * 1024
    segment_bytes: int = 16 * 1024 * 1024
    sync_interval_s: float = 0.2
    max_age_s: float = 7 * 86_400.0
    tables: Mapping[str, TablePolicy] = field(default_factory=lambda: DEFAULT_POLICIES)
    otherwise: TablePolicy = TablePolicy()

    def __post_init__(self) -> None:
        if min(self.memory_rows, self.memory_bytes, self.disk_bytes, self.segment_bytes) < 0:
            raise ConfigurationError("every bound of the spool must be 0 or more")
        if self.sync_interval_s <= 0 or self.max_age_s <= 0:
            raise ConfigurationError("the spool's sync_interval_s and max_age_s must be more than 0")

    def policy(self, table: str) -> TablePolicy:
        """The promise for `table`."""
        return self.tables.get(table, self.otherwise)
