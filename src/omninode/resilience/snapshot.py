"""What of the resilience of a process outlives it, and where it may be kept."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from omninode.resilience.circuit import CircuitState

__all__ = ["BreakerSnapshot", "RetrySnapshot", "StateStore", "StoredState"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerSnapshot:
    """The state of a breaker as it is kept across restarts; moments are UTC. OPEN without `reopen_at` is isolated."""

    name: str
    state: CircuitState
    failures: int
    successes: int
    generation: int
    opened_at: datetime | None
    reopen_at: datetime | None
    reason: str
    updated_at: datetime
    is_second_hand: bool = False
    """Whether it opened on less evidence because it was open elsewhere. It is no news to others then: processes that
    repeat to each other what they heard would keep each other's breakers open. A restart does not take it up either.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySnapshot:
    """The counters of a retry manager as they are kept across restarts."""

    name: str
    calls: int
    attempts: int
    retries: int
    recovered: int
    exhausted: int
    budget_tokens: float | None
    last_error: str | None
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredState:
    """All that was kept."""

    breakers: tuple[BreakerSnapshot, ...] = ()
    retries: tuple[RetrySnapshot, ...] = ()


class StateStore(Protocol):
    """Where snapshots are kept. Both may raise; nothing on a call's path waits for either."""

    async def load(self) -> StoredState:
        """All that was kept, by processes that are gone as far as that can be known."""
        ...

    async def save(
        self, breakers: Sequence[BreakerSnapshot], retries: Sequence[RetrySnapshot], *, moved: Collection[str] = ()
    ) -> None:
        """Keep these instead of what was kept under their names; they come sorted by name.

        `moved` names the breakers whose state is news to other processes.
        """
        ...
