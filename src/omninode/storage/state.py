"""Breaker and retry state kept across restarts, in `circuit_breaker_state` and `retry_manager_state`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

from omninode.resilience.circuit import CircuitState
from omninode.resilience.snapshot import BreakerSnapshot, RetrySnapshot, StoredState
from omninode.storage.batch import Operation, RowData, plan_write, write_rows
from omninode.storage.catalog import Catalog
from omninode.storage.lanes import Lane

if TYPE_CHECKING:
    from omninode.storage.database import Database
    from omninode.storage.session import Session

__all__ = ["DatabaseStateStore"]


class DatabaseStateStore:
    """The `resilience.snapshot.StateStore` on Postgres. Both methods raise DatabaseError when they cannot."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._catalog = Catalog()

    async def load(self) -> StoredState:
        """All that was kept, by name."""
        async with self._database.acquire(lane=Lane.CONTROL, doing="load breaker state") as session:
            breakers = await session.fetch("state.breakers")
            retries = await session.fetch("state.retries")
        return StoredState(
            breakers=tuple(BreakerSnapshot(**{**row, "state": CircuitState(row["state"])}) for row in breakers),
            retries=tuple(RetrySnapshot(**row) for row in retries),
        )

    async def save(self, breakers: Sequence[BreakerSnapshot], retries: Sequence[RetrySnapshot]) -> None:
        """Replace what was kept under these names, in one transaction."""
        if not breakers and not retries:
            return
        async with self._database.transaction(lane=Lane.CONTROL, doing="save breaker state") as session:
            await self._replace(session, "circuit_breaker_state", [_row(snapshot) for snapshot in breakers])
            await self._replace(session, "retry_manager_state", [_row(snapshot) for snapshot in retries])

    async def _replace(self, session: Session, name: str, rows: Sequence[RowData]) -> None:
        if rows:
            table = await self._catalog.table(session, name)
            await write_rows(session, plan_write(table, Operation.UPSERT, rows, keys=("name",)), rows)


def _row(snapshot: BreakerSnapshot | RetrySnapshot) -> dict[str, object]:
    row = {entry.name: getattr(snapshot, entry.name) for entry in fields(snapshot)}
    if isinstance(snapshot, BreakerSnapshot):
        row["state"] = snapshot.state.value
    return row
