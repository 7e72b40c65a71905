"""What is wrong with the indexes that are there: unused, doubled, invalid, or of a kind that does not fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from omninode.storage.catalog import quoted

if TYPE_CHECKING:
    from omninode.storage.session import Session

__all__ = ["IndexFinding", "find_index_faults"]

Fault = Literal["unused", "covered", "invalid", "scattered"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexFinding:
    """One index and what is wrong with it; `remedy` is the statement that mends it.

    unused: not read once since the server began to count, `days` ago, and no constraint. covered: another index begins
    with the same columns. invalid: a build that was interrupted. scattered: a BRIN index on a column whose order has
    little to do with where its rows lie.
    """

    fault: Fault
    schema: str
    table: str
    index: str
    detail: str
    size_bytes: int
    remedy: str


async def find_index_faults(session: Session, *, unused_days: int = 7) -> tuple[IndexFinding, ...]:
    """Every fault, the largest index first of each kind. An index of a partitioned table counts as one.

    Before the server has counted for `unused_days`, nothing is called unused.
    """
    return tuple(
        IndexFinding(
            fault=row["fault"],
            schema=row["schema"],
            table=row["table"],
            index=row["index"],
            detail=row["detail"],
            size_bytes=row["size_bytes"],
            remedy=_remedy(row["fault"], f"{quoted(row['schema'])}.{quoted(row['index'])}", is_whole=row["is_whole"]),
        )
        for row in await session.fetch("indexes.faults", unused_days)
    )


def _remedy(fault: Fault, name: str, *, is_whole: bool) -> str:
    if fault == "invalid" and not is_whole:
        return f"REINDEX INDEX CONCURRENTLY {name}"
    # An index of a partitioned table can only be dropped with its children, at once.
    return f"DROP INDEX {name}" if is_whole else f"DROP INDEX CONCURRENTLY {name}"
