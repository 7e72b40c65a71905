"""A batch of which some rows cannot be written: the good ones go in, the bad ones are named.

The server tells of one bad row at a time, and not of which, so bad rows are found by halving. Rows that are there
already are usually many (a batch that is told a second time), and are asked for instead: one statement, however many.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from omninode.core.errors import BatchDataError
from omninode.storage.batch import Operation, Plan, RowData, stored_rows, write_rows
from omninode.storage.session import Session

__all__ = ["BadRow", "first_bad_row", "write_isolating"]

_DOUBLED = "23505"


@dataclass(frozen=True, slots=True, kw_only=True)
class BadRow:
    """A row the database will not take, and why."""

    index: int
    error: str
    sqlstate: str | None


async def write_isolating(session: Session, plan: Plan, rows: Sequence[RowData]) -> tuple[int, list[BadRow]]:
    """Write what can be written: rows touched, and the bad rows by their index.

    Inside the caller's transaction; each try is a savepoint, so good rows stay. Of rows with the same key the first is
    written, unless it is bad for another reason.
    """
    written, bad = await _write(session, plan, rows, range(len(rows)))
    return written, sorted(bad, key=lambda entry: entry.index)


async def _write(
    session: Session, plan: Plan, rows: Sequence[RowData], numbers: Sequence[int]
) -> tuple[int, list[BadRow]]:
    """Write the rows of these `numbers`."""
    if not numbers:
        return 0, []
    part = [rows[number] for number in numbers]
    try:
        async with session.transaction():
            return await write_rows(session, plan, part, numbers=numbers), []
    except BatchDataError as error:
        state = getattr(error.__cause__, "sqlstate", None)
        if len(numbers) == 1:
            return 0, [BadRow(index=numbers[0], error=error.message, sqlstate=state)]
    bad: list[BadRow] = []
    parts: Iterable[Sequence[int]] = (numbers[: len(numbers) // 2], numbers[len(numbers) // 2 :])
    if state == _DOUBLED and plan.operation is Operation.INSERT:
        stored = await stored_rows(session, plan, part)
        bad = [_doubled(plan, numbers[place], key) for place, key in stored.items()]
        left = [place for place in range(len(part)) if place not in stored]
        firsts = _firsts(plan, part, left)
        repeats = [place for place in left if place not in firsts]
        # Neither found anything: the rows clash by a key that is not to be seen in them, and are halved.
        if stored or repeats:
            parts = [[numbers[place] for place in places] for places in (sorted(firsts), repeats)]
    written = 0
    for each in parts:
        count, found = await _write(session, plan, rows, each)
        written += count
        bad += found
    return written, bad


def _doubled(plan: Plan, number: int, key: Sequence[str]) -> BadRow:
    told = f"{plan.operation} on {plan.table.name!r}: a row with its key ({', '.join(key)}) already exists"
    return BadRow(index=number, error=told, sqlstate=_DOUBLED)


def _firsts(plan: Plan, rows: Sequence[RowData], places: Sequence[int]) -> set[int]:
    """Those of `places` whose row has no key in common with a row before it."""
    names = [[column.name for column in key] for key in plan.unique_keys]
    seen: set[tuple[object, ...]] = set()
    firsts = set()
    for place in places:
        row = rows[place]
        keys = {
            (number, *[_comparable(row[name]) for name in key])
            for number, key in enumerate(names)
            if not any(row[name] is None for name in key)
        }
        if seen.isdisjoint(keys):
            firsts.add(place)
            seen |= keys
    return firsts


def _comparable(value: object) -> object:
    """A value of a key as it can be looked up; a UUID and its text are one."""
    return value if isinstance(value, int | float | bytes) else str(value)


async def first_bad_row(session: Session, plan: Plan, rows: Sequence[RowData]) -> int | None:
    """The index of the first row that cannot be written after those before it, None when all can; changes nothing."""
    async with session.rolled_back():
        if await _fits(session, plan, rows):
            return None
        low, high = 0, len(rows)  # rows before `low` are written; one of [low, high) is bad
        while high - low > 1:
            middle = (low + high) // 2
            if await _fits(session, plan, rows[low:middle]):
                low = middle
            else:
                high = middle
        return low


async def _fits(session: Session, plan: Plan, rows: Sequence[RowData]) -> bool:
    try:
        async with session.transaction():
            await write_rows(session, plan, rows)
    except BatchDataError:
        return False
    return True
