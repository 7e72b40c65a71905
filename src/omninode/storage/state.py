"""Breaker and retry state kept across restarts, in `circuit_breaker_state` and `retry_manager_state`.

Moments are stored by the database's clock and handed out by ours: what is kept of a break is how long it still lasts,
so hosts whose clocks disagree agree on that.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID, uuid4

from omninode.core.clock import Clock, SystemClock
from omninode.resilience.circuit import CircuitState
from omninode.resilience.snapshot import BreakerSnapshot, RetrySnapshot, StoredState
from omninode.storage.batch import Operation, plan_write, write_rows
from omninode.storage.catalog import Catalog
from omninode.storage.lanes import Lane
from omninode.storage.news import encoded, news_of

if TYPE_CHECKING:
    from omninode.storage.database import Database
    from omninode.storage.session import Session

__all__ = ["DatabaseStateStore"]

S = TypeVar("S", BreakerSnapshot, RetrySnapshot)

# What the columns hold; a count that passes it stays there.
_MOST = 2**31 - 1


class DatabaseStateStore:
    """The `resilience.snapshot.StateStore` on Postgres. Both methods raise DatabaseError when they cannot.

    `sender` is what other processes know this one by; `untold` counts changes whose names are too long to be told
    (they are stored all the same).
    """

    def __init__(self, database: Database, *, clock: Clock | None = None) -> None:
        self._database = database
        self._clock = clock or SystemClock()
        self._catalog = Catalog()
        self.sender: UUID = uuid4()
        self.untold = 0

    async def load(self) -> StoredState:
        """All that was kept, by name; of breakers, what processes kept that are gone."""
        async with self._database.transaction(lane=Lane.CONTROL, doing="load breaker state") as session:
            breakers = await session.fetch("state.breakers")
            retries = await session.fetch("state.retries")
            ahead = self._clock.now() - await session.fetchval("state.now")
        return StoredState(
            breakers=tuple(
                _moved_in_time(BreakerSnapshot(**{**row, "state": CircuitState(row["state"])}), ahead)
                for row in breakers
            ),
            retries=tuple(_moved_in_time(RetrySnapshot(**row), ahead) for row in retries),
        )

    async def save(
        self, breakers: Sequence[BreakerSnapshot], retries: Sequence[RetrySnapshot], *, moved: Collection[str] = ()
    ) -> None:
        """Replace what was kept under these names and tell the other processes of `moved`, in one transaction.

        What another process keeps as open is not replaced by a breaker that is closed here, for as long as that break
        lasts and at most for 30 s.
        """
        if not breakers and not retries:
            return
        news = [news_of(entry, sender=str(self.sender)) for entry in breakers if entry.name in moved]
        payloads, untold = encoded([entry for entry in news if entry is not None])
        async with self._database.transaction(lane=Lane.CONTROL, doing="save breaker state") as session:
            now: datetime = await session.fetchval("state.now")
            await self._save_breakers(session, [_moved_in_time(entry, now - entry.updated_at) for entry in breakers])
            await self._save_retries(session, [_moved_in_time(entry, now - entry.updated_at) for entry in retries])
            for payload in payloads:
                await session.execute("state.tell", payload)
        self.untold += untold

    async def _save_breakers(self, session: Session, breakers: Sequence[BreakerSnapshot]) -> None:
        if breakers:
            await session.execute(
                "state.save_breakers",
                [entry.name for entry in breakers],
                [entry.state.value for entry in breakers],
                [min(_MOST, entry.failures) for entry in breakers],
                [min(_MOST, entry.successes) for entry in breakers],
                [entry.generation for entry in breakers],
                [entry.opened_at for entry in breakers],
                [entry.reopen_at for entry in breakers],
                [entry.reason for entry in breakers],
                [entry.updated_at for entry in breakers],
                [None if entry.is_second_hand else self.sender for entry in breakers],
            )

    async def _save_retries(self, session: Session, retries: Sequence[RetrySnapshot]) -> None:
        if retries:
            table = await self._catalog.table(session, "retry_manager_state")
            rows = [asdict(entry) for entry in retries]
            await write_rows(session, plan_write(table, Operation.UPSERT, rows, keys=("name",)), rows)


def _moved_in_time(snapshot: S, by: timedelta) -> S:
    """`snapshot` with its moments on a clock that is ahead of its own by so much."""
    if isinstance(snapshot, RetrySnapshot):
        return replace(snapshot, updated_at=snapshot.updated_at + by)
    return replace(
        snapshot,
        opened_at=snapshot.opened_at and snapshot.opened_at + by,
        reopen_at=snapshot.reopen_at and snapshot.reopen_at + by,
        updated_at=snapshot.updated_at + by,
    )
