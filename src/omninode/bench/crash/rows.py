"""Rows that can be counted afterwards: numbered from 0, by kind, for one trial."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from omninode.core.ids import time_of, uuid7
from omninode.storage.database import Database

__all__ = ["KINDS", "TABLE", "Tally", "row", "stored", "tally"]

TABLE = "performance_metrics"
KINDS = ("ledger", "telemetry")


# Any: JSON values by column.
def row(trial: UUID, kind: str, number: int) -> dict[str, Any]:
    """Row `number` of a kind."""
    identifier = uuid7()
    return {
        "id": str(identifier),
        # The moment in the id, which is where the partitions look.
        "ts": time_of(identifier).isoformat(),
        "run_id": str(trial),
        "phase": "parallel_execution",
        "metric": kind,
        "value": float(number),
        "ok": True,
        "labels": {"number": number, "of": "crash"},
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What became of the rows of one kind: acknowledged ones that are not stored, and stored ones too many."""

    acknowledged: int = 0
    stored: int = 0
    lost: int = 0
    doubled: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            acknowledged=self.acknowledged + other.acknowledged,
            stored=self.stored + other.stored,
            lost=self.lost + other.lost,
            doubled=self.doubled + other.doubled,
        )


async def stored(database: Database, trial: UUID, kind: str) -> list[int]:
    """The numbers in the table."""
    return [int(found["value"]) for found in await database.fetch("bench_crash.values", trial, kind)]


async def tally(database: Database, trial: UUID, kind: str, *, acknowledged: Iterable[int]) -> Tally:
    """Compare what was acknowledged with what is stored; a second copy that met its own id is in dead_letters."""
    found = Counter(await stored(database, trial, kind))
    refused = await database.fetchval("bench_crash.refused", str(trial), kind)
    known = set(acknowledged)
    return Tally(
        acknowledged=len(known),
        stored=found.total(),
        lost=len(known - found.keys()),
        doubled=found.total() - len(found) + int(refused),
    )
