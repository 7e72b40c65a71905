"""One batch of a spool into its tables, in the transaction that notes how far the spool has come.

When the outcome of a commit is unknown, the next try finds the note moved or not moved, and knows. Rows the database
refuses are set aside in `dead_letters`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

import orjson

from omninode.core.clock import Clock
from omninode.core.errors import BatchDataError, DatabaseError, OmniNodeError
from omninode.storage.batch import Operation, Plan, plan_write
from omninode.storage.catalog import Catalog
from omninode.storage.dead_letters import bury
from omninode.storage.isolation import BadRow, write_isolating
from omninode.storage.lanes import Lane
from omninode.storage.rollup import Rollups
from omninode.storage.segment import Record, parse_label

if TYPE_CHECKING:
    from omninode.storage.database import Database
    from omninode.storage.session import Session

__all__ = ["DEFAULT_RULES", "Delivered", "Delivery", "Source", "TableRule"]

_NUMBER, _LABEL, _DATA = attrgetter("number"), attrgetter("label"), attrgetter("data")


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRule:
    """How the rows of a table are written."""

    operation: Operation = Operation.INSERT
    keys: tuple[str, ...] = ()


# A run is told when it starts and again when it ends; everything else is told once.
DEFAULT_RULES: Mapping[str, TableRule] = {"runs": TableRule(operation=Operation.UPSERT, keys=("id",))}


class Source(Protocol):
    """Records in the order of their numbers; those up to `position` are in the database."""

    spool_id: UUID
    position: int

    def take(self, *, rows: int, size: int) -> list[Record]:
        """The next records, without removing them."""
        ...

    def release(self, number: int) -> None:
        """Forget the records up to `number`: they are in the database."""
        ...

    def put_back(self) -> None:
        """The records taken last have not been written."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """What one batch came to: rows written, rows set aside."""

    written: int
    dead: int


class Delivery:
    """Writes batches of records; what it learns of the tables it keeps."""

    def __init__(self, database: Database, *, rules: Mapping[str, TableRule] | None, clock: Clock) -> None:
        self._database = database
        self._rules = DEFAULT_RULES if rules is None else rules
        self._clock = clock
        self._catalog = Catalog()
        self._rollups = Rollups()

    async def write(self, source: Source, records: Sequence[Record], *, is_last_try: bool) -> Delivered:
        """Write `records` and release them.

        With `is_last_try` rows of a table that is not there, or may not be written, are set aside too. Raises
        OmniNodeError, with nothing written.
        """
        first, last = records[0].number, records[-1].number
        async with self._database.transaction(lane=Lane.INGEST, doing="spool flush") as session:
            stored = await self._advance(session, source.spool_id, first - 1, last)
            dead = await self._write_groups(session, records, is_last_try=is_last_try) if stored is None else 0
        if stored is None:
            stored = last
        count = bisect_right(records, stored, key=_NUMBER)
        source.release(stored)
        return Delivered(written=count - dead, dead=dead)

    @staticmethod
    async def _advance(session: Session, spool_id: UUID, start: int, last: int) -> int | None:
        """Move the note from `start` to `last`; None when that is done, or where it stands when that is further on."""
        if await session.execute("spool.advance", spool_id, start, last):
            return None
        # This spool never began, or rows before `start` were dropped, or an earlier try was committed after all.
        stored: int = await session.fetchval("spool.begin", spool_id, start)
        if stored != start:
            return stored
        await session.execute("spool.advance", spool_id, start, last)
        return None

    async def _write_groups(self, session: Session, records: Sequence[Record], *, is_last_try: bool) -> int:
        dead = 0
        for label, rows in _grouped(records, self._is_ordered):
            table, key = parse_label(label)
            rule = self._rule(table, key)
            bad = await self._write_group(session, table, rule, rows, is_last_try=is_last_try)
            await bury(session, bad, rows, table=table, operation=rule.operation, now=self._clock.now())
            dead += len(bad)
            lost = {entry.index for entry in bad}
            counted = [row for index, row in enumerate(rows) if index not in lost] if lost else rows
            await self._rollups.add(session, table, counted)
        return dead

    def _rule(self, table: str, key: str | None) -> TableRule:
        if key is not None:
            return TableRule(operation=Operation.UPSERT, keys=(key,))
        return self._rules.get(table, TableRule())

    def _is_ordered(self, label: str) -> bool:
        return self._rule(*parse_label(label)).operation is not Operation.INSERT

    async def _write_group(
        self, session: Session, table: str, rule: TableRule, rows: Sequence[Mapping[str, object]], *, is_last_try: bool
    ) -> list[BadRow]:
        """Write rows of one table with the same columns; those that the table will not take."""
        try:
            plan = await self._plan(session, table, rule, rows)
            _, bad = await write_isolating(session, plan, rows)
        except (BatchDataError, DatabaseError) as error:
            is_hopeless = isinstance(error, BatchDataError) or is_last_try
            if error.retryable or not is_hopeless:
                raise
            # The table is not there, has lost a column, or may not be written: none of these rows can go in.
            return [BadRow(index=index, error=error.message, sqlstate=_state(error)) for index in range(len(rows))]
        return bad

    async def _plan(self, session: Session, table: str, rule: TableRule, rows: Sequence[Mapping[str, object]]) -> Plan:
        try:
            return plan_write(await self._catalog.table(session, table), rule.operation, rows, keys=rule.keys)
        except BatchDataError:
            self._catalog.forget(table)  # it may have been changed since it was read
            return plan_write(await self._catalog.table(session, table), rule.operation, rows, keys=rule.keys)


def _grouped(
    records: Sequence[Record], is_ordered: Callable[[str], bool]
) -> list[tuple[str, Sequence[Mapping[str, object]]]]:
    """Rows by label and columns. Where order matters, rows of a label are only joined with their neighbours."""
    rows: list[dict[str, object]] = orjson.loads(b"[%b]" % b",".join(map(_DATA, records)))
    # Most batches are of one kind, which a set of them shows without a loop.
    if len(set(map(_LABEL, records))) == 1 and len(set(map(tuple, rows))) == 1:
        return [(records[0].label, rows)]
    groups: list[tuple[str, Sequence[Mapping[str, object]]]] = []
    open_groups: dict[tuple[str, tuple[str, ...]], list[Mapping[str, object]]] = {}
    latest: dict[str, tuple[str, tuple[str, ...]]] = {}
    for label, row in zip(map(_LABEL, records), rows, strict=True):
        kind = (label, tuple(row))
        before = latest.get(label)
        if before != kind:
            if before is not None and is_ordered(label):
                open_groups.pop(before, None)
            latest[label] = kind
        group = open_groups.get(kind)
        if group is None:
            group = open_groups[kind] = []
            groups.append((label, group))
        group.append(row)
    return groups


def _state(error: OmniNodeError) -> str | None:
    return getattr(error, "sqlstate", None) or getattr(error.__cause__, "sqlstate", None)
