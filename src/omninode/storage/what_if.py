"""What an index would change, without building it: by hypopg where the server has it, else on a sample.

The sample is a temporary table of the same name with the same indexes, which hides the real one from the statement; it
lives in a transaction that is rolled back. Costs of the two plans on it tell the gain, its index the size of the whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from omninode.core.errors import DatabaseError
from omninode.storage.catalog import Table, quoted
from omninode.storage.failures import translated
from omninode.storage.plans import Plan, plan_of

if TYPE_CHECKING:
    from omninode.storage.session import Session

__all__ = ["WhatIf", "try_index"]

# Enough rows that an index can win, and few enough to be read in a moment.
_SAMPLE_SHARE, _LEAST_ROWS, _MOST_ROWS = 0.02, 20_000, 200_000
_INDEX = "omninode_tried"


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIf:
    """The costs without and with the index, as the planner expects them, and how large it would be.

    `is_used` says whether the planner would read it at all; `how` is 'hypopg' or 'sample'.
    """

    cost_before: float
    cost_after: float
    size_bytes: int
    is_used: bool
    how: str

    @property
    def gain(self) -> float:
        """How many times cheaper the statement becomes; 1.0 when the index is not used."""
        return self.cost_before / max(self.cost_after, 0.01) if self.is_used else 1.0


async def try_index(session: Session, text: str, *, table: Table, columns: tuple[str, ...], rows: int) -> WhatIf | None:
    """What an index on `columns` would do for the statement `text`; None when that cannot be told.

    That is so for a statement that names the schema of its table, on a server without hypopg.
    """
    # hypopg knows no partitioned tables.
    if await session.fetchval("workload.has_hypothetical_indexes", table.quoted):
        return await _by_hypopg(session, text, table=table, columns=columns)
    try:
        async with session.rolled_back():
            return await _by_sample(session, text, table=table, columns=columns, rows=rows)
    except DatabaseError as error:
        if error.retryable:
            raise
        return None  # the table cannot be copied (a type without a default, a right we lack)


async def _by_hypopg(session: Session, text: str, *, table: Table, columns: tuple[str, ...]) -> WhatIf:
    before = await plan_of(session, text)
    statement = f"CREATE INDEX ON {table.quoted} ({_listed(columns)})"
    with translated("hypothetical index"):
        row = await session.driver.fetchrow("SELECT indexrelid, indexname FROM hypopg_create_index($1)", statement)
        assert row is not None
        try:
            after = await plan_of(session, text)
            size = await session.driver.fetchval("SELECT hypopg_relation_size($1)", row["indexrelid"])
        finally:
            await session.driver.execute("SELECT hypopg_drop_index($1)", row["indexrelid"])
    return _compared(before, after, index=row["indexname"], size=size, how="hypopg")


async def _by_sample(
    session: Session, text: str, *, table: Table, columns: tuple[str, ...], rows: int
) -> WhatIf | None:
    wanted = min(max(_SAMPLE_SHARE * rows, _LEAST_ROWS), _MOST_ROWS)
    percent = min(100.0, 100.0 * wanted / max(1, rows))
    name = quoted(table.name)
    with translated("index on a sample"):
        await session.driver.execute(
            f"CREATE TEMPORARY TABLE {name} (LIKE {table.quoted} INCLUDING INDEXES) ON COMMIT DROP"
        )
        await session.driver.execute(
            f"INSERT INTO pg_temp.{name} SELECT * FROM {table.quoted} TABLESAMPLE SYSTEM ({percent:.6f}) REPEATABLE (1)"  # noqa: S608 - names from the catalogue
        )
        await session.driver.execute(f"ANALYZE pg_temp.{name}")
        before = await plan_of(session, text)
        if not _reads_the_sample(before, table.name):
            return None
        await session.driver.execute(f"CREATE INDEX {_INDEX} ON pg_temp.{name} ({_listed(columns)})")
        after = await plan_of(session, text)
        sampled = await session.driver.fetchval(f"SELECT count(*) FROM pg_temp.{name}")  # noqa: S608 - as above
        size = await session.driver.fetchval(f"SELECT pg_relation_size('pg_temp.{_INDEX}'::regclass)")
    whole = round(size * rows / max(1, sampled))
    return _compared(before, after, index=_INDEX, size=whole, how="sample")


def _reads_the_sample(plan: Plan, table: str) -> bool:
    return any(
        node.get("Relation Name") == table and str(node.get("Schema", "")).startswith("pg_temp")
        for node in plan.nodes()
    )


def _compared(before: Plan, after: Plan, *, index: str, size: int, how: str) -> WhatIf:
    return WhatIf(
        cost_before=before.cost,
        cost_after=after.cost,
        size_bytes=size,
        is_used=after.uses({index}),
        how=how,
    )


def _listed(columns: tuple[str, ...]) -> str:
    return ", ".join(map(quoted, columns))
