"""How the server would run a statement: the tree that EXPLAIN prints, and what can be read from it.

The plan is the generic one, so no parameter values are needed, and nothing is executed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from omninode.storage.failures import translated

if TYPE_CHECKING:
    from omninode.storage.session import Session

__all__ = ["FullScan", "Plan", "TableSizes", "plan_of", "table_sizes"]

_LARGE_TABLE_ROWS = 10_000
_PREPARED = "omninode_explained"

TableSizes = Mapping[str, tuple[str, int]]
"""By table: the partitioned table it is a child of (itself, when it is none), and its rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FullScan:
    """A plan reads every row of a large table to keep some; `sorts_by` is the order wanted of them, if one is."""

    table: str
    rows: int
    filter: str
    sorts_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """One plan. Any: a node holds whatever its kind has to tell."""

    root: Mapping[str, Any]

    @property
    def cost(self) -> float:
        """What the planner expects it to cost, in its own unit."""
        cost = self.root.get("Total Cost")
        return float(cost) if isinstance(cost, int | float) else 0.0

    def nodes(self) -> Iterator[Mapping[str, Any]]:
        """Every node, parents first."""
        waiting = [self.root]
        while waiting:
            node = waiting.pop()
            yield node
            waiting += reversed(node.get("Plans", []))

    def full_scans(self, sizes: TableSizes) -> tuple[FullScan, ...]:
        """The scans that read a large table for some of its rows; the children of one table count together."""
        found: dict[tuple[str, str], FullScan] = {}
        for node, order in _with_order(self.root, ()):
            whole, rows = sizes.get(str(node.get("Relation Name", "")), ("", 0))
            if node.get("Node Type") == "Seq Scan" and "Filter" in node:
                key = (whole, str(node["Filter"]))
                before = found[key].rows if key in found else 0
                found[key] = FullScan(table=whole, rows=before + max(0, rows), filter=key[1], sorts_by=order)
        return tuple(scan for scan in found.values() if scan.rows >= _LARGE_TABLE_ROWS)

    def uses(self, indexes: set[str]) -> bool:
        """Whether it reads one of these indexes."""
        return any(node.get("Index Name") in indexes for node in self.nodes())

    def shape(self, sizes: TableSizes) -> str:
        """The plan without its numbers: what is done to which table by which index, for comparing."""
        return _shape(self.root, sizes)


def _with_order(node: Mapping[str, Any], order: tuple[str, ...]) -> Iterator[tuple[Mapping[str, Any], tuple[str, ...]]]:
    """Each node with the order that its nearest Sort gives its rows."""
    inner = tuple(map(str, node.get("Sort Key", ()))) if node.get("Node Type") == "Sort" else order
    yield node, order
    for part in node.get("Plans", []):
        yield from _with_order(part, inner)


def _shape(node: Mapping[str, Any], sizes: TableSizes, *, is_child: bool = False) -> str:
    words = [str(node.get("Node Type", "?"))]
    table = node.get("Relation Name")
    if table is not None:
        whole = sizes.get(table, (table, 0))[0]
        is_child = whole != table
        words.append(whole)
    if "Index Name" in node and not is_child:
        # A child has indexes of its own, and there is a new child every day.
        words.append(str(node["Index Name"]))
    parts = [_shape(part, sizes, is_child=is_child) for part in node.get("Plans", [])]
    inner = ", ".join(dict.fromkeys(parts))
    return " ".join(words) + (f" ({inner})" if inner else "")


async def plan_of(session: Session, text: str) -> Plan:
    """The generic plan of the statement `text`; raises DatabaseError for one that has none."""
    # The driver cannot send EXPLAIN (GENERIC_PLAN) with parameters in it; a prepared statement gets the same plan.
    driver = session.driver
    with translated("explain"):
        # One transaction, so that behind a proxy too all of it meets one connection, which keeps nothing of it.
        async with session.rolled_back():
            await driver.execute("SET LOCAL plan_cache_mode = force_generic_plan")
            await driver.execute(f"PREPARE {_PREPARED} AS {text}")
            try:
                async with session.transaction():  # one that fails leaves the rest of the transaction usable
                    count = await session.fetchval("indexes.parameter_count", _PREPARED)
                    values = f"({', '.join(['NULL'] * count)})" if count else ""
                    answer = await driver.fetchval(f"EXPLAIN (FORMAT JSON, VERBOSE) EXECUTE {_PREPARED} {values}")
            finally:
                await driver.execute(f"DEALLOCATE {_PREPARED}")
    return Plan(answer[0]["Plan"])


async def table_sizes(session: Session) -> TableSizes:
    """The size of every table, as the planner knows it."""
    return {row["table"]: (row["whole"], row["rows"]) for row in await session.fetch("indexes.table_rows")}
