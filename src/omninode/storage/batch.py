"""Writing many rows of one table at the cost of a few statements.

INSERT is COPY. UPDATE, DELETE and UPSERT join the table with the rows sent as one array per column (`unnest`), or
with a temporary table when there are many rows or a column itself holds arrays. Measured reasons for each choice are
in docs; the short of it: the gain is in sending fewer statements, and COPY is the cheapest statement there is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from operator import itemgetter
from typing import Literal

import asyncpg

from omninode.core.errors import BatchDataError
from omninode.storage.catalog import Column, Table, quoted
from omninode.storage.failures import answered, is_data_error, told_without_values
from omninode.storage.session import Session, touched
from omninode.storage.values import prepared_column

__all__ = [
    "Operation",
    "Plan",
    "RowData",
    "ordered_rows",
    "plan_write",
    "stored_rows",
    "write_rows",
]

RowData = Mapping[str, object]
# Below, `unnest` is cheaper; creating and filling a temporary table costs 20-30 ms.
_STAGE_FROM = 1000
_STAGE = "omninode_stage"


class Operation(StrEnum):
    """What is done with the rows."""

    INSERT = "INSERT"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    UPSERT = "UPSERT"

    @classmethod
    def parse(cls, text: str) -> Operation:
        """The operation of that name, in any case; raises BatchDataError for another word."""
        try:
            return cls(text.strip().upper())
        except (ValueError, AttributeError):
            raise BatchDataError(f"operation {text!r} is unknown; use one of {', '.join(cls)}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One operation on one table with one set of columns."""

    table: Table
    operation: Operation
    columns: tuple[Column, ...]
    keys: tuple[str, ...]
    skips_conflicts: bool = False

    @property
    def values(self) -> tuple[Column, ...]:
        """The columns that are no keys."""
        return tuple(column for column in self.columns if column.name not in self.keys)

    @property
    def unique_keys(self) -> tuple[tuple[Column, ...], ...]:
        """The unique keys of the table that the rows hold, but for those of arrays, which `unnest` takes apart."""
        held = {column.name: column for column in self.columns if not column.is_array}
        keys = [sorted(key) for key in self.table.unique_keys if key <= held.keys()]
        return tuple(tuple(held[name] for name in key) for key in keys)

    def method(self, rows: int) -> str:
        """How this many rows are written: copy, unnest, any or stage."""
        # COPY takes nothing but the binary form of each type, and for some the driver has none.
        is_copied = not any(column.is_sent_as_text for column in self.columns)
        if self.operation is Operation.INSERT and not self.skips_conflicts and is_copied:
            return "copy"
        if self.operation is Operation.DELETE:
            return "any" if len(self.keys) == 1 else "unnest"
        is_large = rows > _STAGE_FROM and self.operation is not Operation.UPDATE
        return "stage" if is_large or any(column.is_array for column in self.columns) else "unnest"


def plan_write(
    table: Table,
    operation: Operation,
    rows: Sequence[RowData],
    *,
    keys: Sequence[str] = ("id",),
    on_conflict: Literal["fail", "skip"] = "fail",
) -> Plan:
    """How to write `rows`; raises BatchDataError for unknown columns, rows that differ in columns, missing keys."""
    names = _same_columns(table, operation, rows)
    columns = table.writable(names)
    if operation is Operation.INSERT:
        return Plan(table=table, operation=operation, columns=columns, keys=(), skips_conflicts=on_conflict == "skip")
    _check_keys(table, operation, names, keys)
    if operation is Operation.DELETE:
        columns = tuple(column for column in columns if column.name in keys)
    elif operation is Operation.UPDATE and len(columns) == len(set(keys)):
        raise BatchDataError(f"UPDATE of {table.name!r}: the rows hold nothing but their keys", table=table.name)
    return Plan(table=table, operation=operation, columns=columns, keys=tuple(dict.fromkeys(keys)))


def _same_columns(table: Table, operation: Operation, rows: Sequence[RowData]) -> tuple[str, ...]:
    if not rows:
        raise BatchDataError(f"{operation} on {table.name!r}: there are no rows", table=table.name)
    first = rows[0].keys() if _is_row(rows[0]) else ()
    if _are_alike(rows, tuple(first)):
        return tuple(first)
    for number, row in enumerate(rows):
        if not _is_row(row):
            raise BatchDataError(
                f"row {number} of {table.name!r} is {type(row).__name__}, not a mapping of column to value",
                table=table.name,
                row=number,
            )
        if row.keys() != first:
            odd = sorted(map(str, row.keys() ^ first))
            raise BatchDataError(
                f"row {number} of {table.name!r} differs from row 0 in {', '.join(odd)}; give every row the same "
                "columns (None for NULL), or leave a column out of all for its default",
                table=table.name,
                column=odd[0],
                row=number,
            )
    return tuple(first)


def _are_alike(rows: Sequence[RowData], names: Sequence[str]) -> bool:
    """Whether all rows are dicts of exactly these columns, found at the speed of C; a no may be mistaken."""
    if not names or set(map(type, rows)) != {dict} or set(map(len, rows)) != {len(names)}:
        return False
    try:
        deque(map(itemgetter(*names), rows), maxlen=0)
    except KeyError:
        return False
    return True


def _is_row(value: object) -> bool:
    return isinstance(value, Mapping) and bool(value)


def _check_keys(table: Table, operation: Operation, names: Sequence[str], keys: Sequence[str]) -> None:
    if isinstance(keys, str) or not keys:
        raise BatchDataError(f"key_columns is {keys!r}; pass a list of column names", table=table.name)
    for column in table.writable(keys):
        if column.name not in names:
            raise BatchDataError(
                f"{operation} on {table.name!r} needs the key {column.name!r} in every row",
                table=table.name,
                column=column.name,
                row=0,
            )
        if column.is_array or column.type in {"json", "jsonb"}:
            raise BatchDataError(f"{table.name}.{column.name} cannot be a key", table=table.name, column=column.name)
    if operation is Operation.UPSERT and frozenset(keys) not in table.unique_keys:
        raise BatchDataError(
            f"UPSERT on {table.name!r} needs a unique index on exactly ({', '.join(keys)})", table=table.name
        )


def ordered_rows(plan: Plan, rows: Sequence[RowData], *, numbers: Sequence[int] | None = None) -> Sequence[int]:
    """The indices of the rows to write, in the order to write them.

    With keys: the last row of each key, sorted by key, so that two writers take their row locks in the same order.
    """
    if not plan.keys:
        return range(len(rows))
    keyed = [
        _without_null(_of_column(plan, column, rows, numbers), column, plan, numbers)
        for column in plan.columns
        if column.name in plan.keys
    ]
    last = {key: index for index, key in enumerate(zip(*keyed, strict=True))}
    try:
        return [last[key] for key in sorted(last)]
    except TypeError:
        return list(last.values())


def _of_column(plan: Plan, column: Column, rows: Sequence[RowData], numbers: Sequence[int] | None) -> Sequence[object]:
    values = [row[column.name] for row in rows]
    return prepared_column(values, column, table=plan.table.name, numbers=numbers)


def _by_column(plan: Plan, rows: Sequence[RowData]) -> Iterable[Sequence[object]]:
    names = [column.name for column in plan.columns]
    if len(names) == 1:
        return [[row[names[0]] for row in rows]]
    return zip(*map(itemgetter(*names), rows), strict=True)


def _without_null(
    values: Sequence[object], column: Column, plan: Plan, numbers: Sequence[int] | None
) -> Sequence[object]:
    for index, value in enumerate(values):
        if value is None:
            row = numbers[index] if numbers is not None else index
            raise BatchDataError(
                f"row {row}: the key {plan.table.name}.{column.name} is NULL and names no row",
                table=plan.table.name,
                column=column.name,
                row=row,
            )
    return values


async def stored_rows(session: Session, plan: Plan, rows: Sequence[RowData]) -> dict[int, tuple[str, ...]]:
    """Which of `rows` are in the table already: index to the unique key they share, by one statement a key."""
    found: dict[int, tuple[str, ...]] = {}
    for key in plan.unique_keys:
        values = [_of_column(plan, column, rows, None) for column in key]
        casts = ", ".join(f"${n}::{_sent_type(column)}[]" for n, column in enumerate(key, 1))
        same = " AND ".join(f"t.{quoted(column.name)} = {_sent(column)}" for column in key)
        with answered(f"looking for rows of {plan.table.name}"):
            numbers = await session.driver.fetch(
                f"SELECT v.number FROM unnest({casts}) WITH ORDINALITY AS v ({_names(key)}, number) "  # noqa: S608
                f"WHERE EXISTS (SELECT FROM {plan.table.quoted} AS t WHERE {same})",
                *values,
            )
        found.update({row["number"] - 1: tuple(column.name for column in key) for row in numbers})
    return found


async def write_rows(
    session: Session, plan: Plan, rows: Sequence[RowData], *, numbers: Sequence[int] | None = None
) -> int:
    """Write one batch inside the caller's transaction; how many rows of the table it touched.

    `numbers` are the rows' places in the caller's data, for the error. Raises BatchDataError for values that do not
    fit, by our own check (naming the row) or by the server's.
    """
    if plan.keys:
        order = ordered_rows(plan, rows, numbers=numbers)
        rows = [rows[index] for index in order]
        numbers = order if numbers is None else [numbers[index] for index in order]
    columns = [
        prepared_column(values, column, table=plan.table.name, numbers=numbers)
        for column, values in zip(plan.columns, _by_column(plan, rows), strict=True)
    ]
    with answered(f"{plan.operation} on {plan.table.name}"):
        try:
            return await _send(session, plan, columns)
        except asyncpg.PostgresError as error:
            if not is_data_error(error):
                raise
            raise BatchDataError(
                f"{plan.operation} on {plan.table.name!r}: {told_without_values(error)}",
                table=plan.table.name,
                column=getattr(error, "column_name", None),
            ) from error
        except (TypeError, ValueError, OverflowError, asyncpg.UnsupportedClientFeatureError) as error:
            # The driver could not put a value into the form that its type has on the wire.
            raise BatchDataError(
                f"{plan.operation} on {plan.table.name!r}: a value cannot be sent: {error}", table=plan.table.name
            ) from error


async def _send(session: Session, plan: Plan, columns: Sequence[Sequence[object]]) -> int:
    match plan.method(len(columns[0])):
        case "copy":
            return await _copy(session, plan, columns, schema=plan.table.schema, name=plan.table.name)
        case "any":
            return touched(await session.driver.execute(_delete_any(plan), columns[0]))
        case "unnest":
            casts = ", ".join(f"${n}::{_sent_type(column)}[]" for n, column in enumerate(plan.columns, 1))
            source = f"unnest({casts}) AS v ({_names(plan.columns)})"
            return touched(await session.driver.execute(_merge(plan, source), *columns))
        case _:
            return await _through_stage(session, plan, columns)


async def _copy(session: Session, plan: Plan, columns: Sequence[Sequence[object]], *, schema: str, name: str) -> int:
    status = await session.driver.copy_records_to_table(
        name,
        schema_name=schema,
        columns=[column.name for column in plan.columns],
        records=zip(*columns, strict=True),
    )
    return touched(status)


async def _through_stage(session: Session, plan: Plan, columns: Sequence[Sequence[object]]) -> int:
    # Made from a query, the table has no constraint of the original: columns that are not sent may stay out.
    await session.driver.execute(
        f"CREATE TEMPORARY TABLE {_STAGE} ON COMMIT DROP AS "  # noqa: S608 - names from the catalogue
        f"SELECT {', '.join(map(_staged, plan.columns))} FROM {plan.table.quoted} WITH NO DATA"
    )
    await _copy(session, plan, columns, schema="pg_temp", name=_STAGE)
    count = touched(await session.driver.execute(_merge(plan, f"pg_temp.{_STAGE} AS v")))
    await session.driver.execute(f"DROP TABLE pg_temp.{_STAGE}")
    return count


def _names(columns: Sequence[Column]) -> str:
    return ", ".join(quoted(column.name) for column in columns)


def _sent_type(column: Column) -> str:
    return "text" if column.is_sent_as_text else column.cast_type


def _staged(column: Column) -> str:
    name = quoted(column.name)
    return f"{name}::text AS {name}" if column.is_sent_as_text else name


def _sent(column: Column) -> str:
    """The value that was sent for a column, in the column's own type."""
    return f"v.{quoted(column.name)}" + (f"::{column.cast_type}" if column.is_sent_as_text else "")


def _delete_any(plan: Plan) -> str:
    key = plan.columns[0]
    values = f"$1::{_sent_type(key)}[]" + (f"::{key.cast_type}[]" if key.is_sent_as_text else "")
    return f"DELETE FROM {plan.table.quoted} WHERE {quoted(key.name)} = ANY ({values})"  # noqa: S608


# The identifiers below come from the catalogue, quoted; the values travel as parameters or by COPY.
def _merge(plan: Plan, source: str) -> str:
    table = plan.table.quoted
    same = " AND ".join(
        f"t.{quoted(column.name)} = {_sent(column)}" for column in plan.columns if column.name in plan.keys
    )
    if plan.operation is Operation.DELETE:
        return f"DELETE FROM {table} AS t USING {source} WHERE {same}"  # noqa: S608
    if plan.operation is Operation.UPDATE:
        sets = ", ".join(f"{quoted(column.name)} = {_sent(column)}" for column in plan.values)
        return f"UPDATE {table} AS t SET {sets} FROM {source} WHERE {same}"  # noqa: S608
    sent = ", ".join(map(_sent, plan.columns))
    insert = f"INSERT INTO {table} ({_names(plan.columns)}) SELECT {sent} FROM {source}"  # noqa: S608
    if not plan.keys:
        return f"{insert} ON CONFLICT DO NOTHING" if plan.skips_conflicts else insert
    target = ", ".join(quoted(key) for key in plan.keys)
    sets = ", ".join(f"{quoted(column.name)} = EXCLUDED.{quoted(column.name)}" for column in plan.values)
    return f"{insert} ON CONFLICT ({target}) DO " + (f"UPDATE SET {sets}" if sets else "NOTHING")
