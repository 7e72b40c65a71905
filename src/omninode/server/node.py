"""What the server needs of the open runtime, and no more; `runtime` builds the object, tests may bring their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from omninode.storage.database import Database
from omninode.telemetry.bus import EventBus

__all__ = ["BreakerView", "Node", "Row", "SettingView", "SharingView", "SpoolView"]

# Any: a row's values have the types of their columns; each page's loader knows its statement.
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingView:
    """One setting as it may be shown: a secret comes masked already."""

    name: str
    value: str
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerView:
    """One breaker of this process."""

    name: str
    state: str
    failures: int = 0
    reason: str = ""
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SharingView:
    """Whether the breakers of this process hear of those of others; `mode` as in `resilience.PeerStatistics`."""

    mode: str
    heard: int = 0
    sensitised: int = 0
    failures: int = 0
    last_error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolView:
    """Rows on their way to the database.

    `dropped` is by table, or "(unreadable)" and "(expired)"; `only_in_memory` of those that wait would not survive the
    process, and `disk_error` says why.
    """

    accepted: int = 0
    written: int = 0
    waiting: int = 0
    dead: int = 0
    only_in_memory: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    disk_error: str | None = None

    def fates(self) -> Mapping[str, int]:
        """Rows by what became of them, for counters that only grow."""
        dropped = sum(self.dropped.values())
        return {"accepted": self.accepted, "written": self.written, "dropped": dropped, "dead": self.dead}


class Node(Protocol):
    """The open runtime as the server sees it. Reading any of it is quick and does no I/O, but for `database`."""

    @property
    def version(self) -> str:
        """The release that runs."""
        ...

    @property
    def is_simulated(self) -> bool:
        """Whether this process's models are the simulator's."""
        ...

    @property
    def database(self) -> Database | None:
        """The store; None when the node runs without one."""
        ...

    @property
    def bus(self) -> EventBus:
        """The events of this process."""
        ...

    def settings(self) -> Sequence[SettingView]:
        """Every setting with where it came from."""
        ...

    def breakers(self) -> Sequence[BreakerView]:
        """The breakers of this process."""
        ...

    def sharing(self) -> SharingView | None:
        """What is heard of breakers elsewhere; None where nothing listens."""
        ...

    def spool(self) -> SpoolView | None:
        """The rows on their way; None without a spool."""
        ...

    def resources(self) -> Mapping[str, float]:
        """The last sample of this process, by metric name (`cpu_percent`, `rss_bytes`, `pool_in_use`, …)."""
        ...
