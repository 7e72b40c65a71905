"""Rollups: summaries per minute and per hour, written in the transaction of the rows they count.

The writer has the rows in memory, so it adds what they come to, to rows of its own (`writer_id` is in the key): no two
processes touch one row, nothing waits and nothing has to catch up. A late row is counted where its time says. What was
written twice is not counted twice, because the note of how far a spool has come is in the same transaction.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any
from uuid import UUID

from omninode.core.ids import uuid7
from omninode.storage.connection import connect
from omninode.storage.failures import translated
from omninode.storage.histogram import histogram
from omninode.storage.rollup_tables import ROLLUPS, SOURCES, Rollup, Source
from omninode.storage.session import touched

if TYPE_CHECKING:
    from omninode.storage.database import Database
    from omninode.storage.session import Session

__all__ = ["GRAINS", "Rollups", "merge_closed", "recount"]

_log = logging.getLogger(__name__)

# Any: a row as the spool holds it, JSON values by column; or with values of Python.
Row = Mapping[str, Any]

GRAINS: Mapping[str, timedelta] = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1)}
# Names are cut to what an index entry can hold.
_LONGEST_NAME = 200
_NOBODY = UUID(int=0)
# A bucket is closed when hardly a row can still be on its way to it.
_CLOSED_AFTER = timedelta(minutes=10)
_MERGED_AT_ONCE = 5_000


class Rollups:
    """Adds rows to the rollups of their table; one object per writing process, used by one task at a time.

    `uncounted` says how many rows had values that cannot be added up.
    """

    def __init__(self) -> None:
        self._writer_id = uuid7()
        self.uncounted = 0

    async def add(self, session: Session, table: str, rows: Sequence[Row]) -> int:
        """Count `rows`, which were just written to `table` in the same transaction; how many rollup rows that took.

        All rows have the same columns. Tables without rollups, and rows that are not counted (a run that goes on), take none. Raises DatabaseError.
        """
        source = SOURCES.get(table)
        if source is None:
            return 0
        if source.is_counted is not None:
            rows = [row for row in rows if source.is_counted(row)]
        if not rows:
            return 0
        try:
            told = _told(table, source, rows)
        except (TypeError, ValueError, KeyError) as error:
            # A table may take what we cannot add up (a number as text); no reason to hold up the spool for ever.
            self.uncounted += len(rows)
            _log.warning("%d rows of %s are in no rollup: %s: %s", len(rows), table, type(error).__name__, error)
            return 0
        count = 0
        for rollup, columns in told:
            with translated(f"rollup {rollup.name}"):
                count += touched(await session.driver.execute(_upsert(rollup), self._writer_id, *columns))
        return count


async def merge_closed(database: Database, now: datetime) -> int:
    """Make one row of what several writers told of the same closed bucket; how many rows of theirs are gone.

    Rows that a writer holds just now stay for the next time, so nobody waits for this and it waits for nobody.
    """
    count = 0
    for rollup in (rollup for rollups in ROLLUPS.values() for rollup in rollups):
        for grain, width in GRAINS.items():
            async with database.transaction(doing=f"merge {rollup.name}") as session:
                if not await session.fetchval("partitions.try_lock"):
                    return count
                with translated(f"merge {rollup.name}"):
                    merged = await session.driver.fetchval(
                        _merge(rollup, grain), now - width - _CLOSED_AFTER, _NOBODY, _MERGED_AT_ONCE
                    )
                count += merged
    return count


async def recount(database: Database, since: datetime) -> None:
    """Make the rollups since `since` again from the rows, which must all still be there; writers wait meanwhile."""
    connection = await connect(database.config, pool=replace(database.pool, statement_timeout_s=3600))
    try:
        with translated("recount"):
            await connection.execute("SELECT omn_rebuild_rollups($1)", since)
    finally:
        await connection.close(timeout=5)


@dataclass(slots=True, kw_only=True)
class _Part:
    """A lot: rows of one minute that agree in every key of every rollup of their table, and in what decides counts."""

    minute: str
    names: Mapping[str, object]
    sums: Sequence[float]
    values: Sequence[float]
    times: Sequence[str]


def _told(table: str, source: Source, rows: Sequence[Row]) -> list[tuple[Rollup, list[list[object]]]]:
    """The rollups that `rows` add to, each with one list per column of its statement."""
    parts = _parts(table, source, rows)
    deltas = ((rollup, _deltas(rollup, source, parts)) for rollup in ROLLUPS[table])
    return [(rollup, columns) for rollup, columns in deltas if columns is not None]


def _parts(table: str, source: Source, rows: Sequence[Row]) -> list[_Part]:
    # By column: what runs in C for a whole column costs a fraction of a call of Python for every row.
    names = [name for name in _wanted(table) if name in rows[0]]
    lists = dict(zip(names, zip(*map(itemgetter(*names), rows), strict=True), strict=True))
    times = list(map(_utc_text, lists[source.moment]))
    alike = [name for name in _alike(table) if name in lists]
    added = [name for name in source.added if name in lists]
    # The first sixteen letters of a time in ISO 8601 are its minute.
    keys = zip(
        [time[:16] for time in times],
        *[lists[name] for name in alike],
        *[[value is None for value in lists[name]] for name in added if None in lists[name]],
        strict=True,
    )
    values = lists.get(source.value or "", (None,) * len(rows))
    lots: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
    for key, figures in zip(keys, zip(times, values, *[lists[name] for name in added], strict=True), strict=True):
        lot = lots.get(key)
        if lot is None:
            lots[key] = [figures]
        else:
            lot.append(figures)
    return [
        _part(source, lot, minute=minute, names=dict(zip(alike, key, strict=False)), added=added)
        for (minute, *key), lot in lots.items()
    ]


def _part(
    source: Source, lot: Sequence[tuple[Any, ...]], *, minute: str, names: Mapping[str, Any], added: Sequence[str]
) -> _Part:
    times, values, *figures = zip(*lot, strict=True)
    sums = [None if column[0] is None else sum(column) for column in figures]
    told = {**names, **dict(zip(added, sums, strict=True))}
    is_measured = source.is_measured is None or source.is_measured(told)
    return _Part(
        minute=minute,
        names=names,
        sums=source.counts(told, len(lot)),
        values=[value for value in values if value is not None] if is_measured else [],
        times=times,
    )


@cache
def _alike(table: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*_keys(table), *SOURCES[table].alike)))


@cache
def _wanted(table: str) -> tuple[str, ...]:
    source = SOURCES[table]
    value = () if source.value is None else (source.value,)
    return tuple(dict.fromkeys((source.moment, *_alike(table), *source.added, *value)))


@cache
def _keys(table: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(key for rollup in ROLLUPS[table] for key in rollup.keys))


def _deltas(rollup: Rollup, source: Source, parts: Iterable[_Part]) -> list[list[object]] | None:
    """What `parts` add, as one list per column of the statement; None when they add nothing."""
    groups: dict[tuple[str, ...], list[_Part]] = {}
    for part in parts:
        if rollup.needs is None or part.names.get(rollup.needs) is not None:
            key = (part.minute, *[_name(part.names.get(key)) for key in rollup.keys])
            groups.setdefault(key, []).append(part)
    if not groups:
        return None
    places = [source.columns.index(column) for column in rollup.sums]
    lines = [
        [
            datetime.fromisoformat(f"{key[0]}+00:00"),
            *key[1:],
            *[sum(part.sums[place] for part in group) for place in places],
            *_extremes(rollup, group),
        ]
        for key, group in sorted(groups.items())
    ]
    return [list(column) for column in zip(*lines, strict=True)]


def _extremes(rollup: Rollup, parts: Sequence[_Part]) -> list[object]:
    """What is not summed: histogram, times and gauges, in the order of `_measures`."""
    found: list[object] = []
    if rollup.histogram:
        found.append(histogram(itertools.chain.from_iterable(part.values for part in parts)))
    if rollup.first_at:
        found.append(datetime.fromisoformat(min(min(part.times) for part in parts)))
    if rollup.last_at:
        found.append(datetime.fromisoformat(max(max(part.times) for part in parts)))
    if rollup.gauge:
        _, latest = max(
            (pair for part in parts for pair in zip(part.times, part.values, strict=True)), key=itemgetter(0)
        )
        values = [value for part in parts for value in part.values]
        found += [float(min(values)), float(max(values)), float(latest)]
    return found


def _name(value: object) -> str:
    return value[:_LONGEST_NAME] if isinstance(value, str) else "" if value is None else str(value)[:_LONGEST_NAME]


def _utc_text(moment: object) -> str:
    """A moment as ISO 8601 in UTC, so that texts compare as moments do."""
    if isinstance(moment, str):
        if moment.endswith("+00:00"):
            return moment
        moment = datetime.fromisoformat(moment)
    assert isinstance(moment, datetime)  # the column took it
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measure:
    """A column of a rollup: its type, how several rows of it become one, and how a new one joins what is there."""

    column: str
    type: str
    merged: str
    joined: str


def _measures(rollup: Rollup) -> list[_Measure]:
    found = [_added(column, "double precision" if column == "total" else "bigint") for column in rollup.sums]
    if rollup.histogram:
        found.append(_added("latency", "numeric"))
    if rollup.first_at:
        found.append(_measure("first_at", "timestamptz", "min({0})", "least(t.{0}, excluded.{0})"))
    if rollup.last_at:
        found.append(_measure("last_at", "timestamptz", "max({0})", "greatest(t.{0}, excluded.{0})"))
    if rollup.gauge:
        found += [
            _measure("lowest", "double precision", "min({0})", "least(t.{0}, excluded.{0})"),
            _measure("highest", "double precision", "max({0})", "greatest(t.{0}, excluded.{0})"),
            _measure(
                "last_value",
                "double precision",
                "(array_agg({0} ORDER BY last_at DESC))[1]",
                "CASE WHEN excluded.last_at >= t.last_at THEN excluded.{0} ELSE t.{0} END",
            ),
        ]
    return found


def _added(column: str, kind: str) -> _Measure:
    return _measure(column, kind, f"sum({{0}})::{kind}", "t.{0} + excluded.{0}")


def _measure(column: str, kind: str, merged: str, joined: str) -> _Measure:
    return _Measure(column=column, type=kind, merged=merged.format(column), joined=joined.format(column))


# Every name in the statements below is one of `rollup_tables`.
@cache
def _upsert(rollup: Rollup) -> str:
    """$1 the writer, then one array per column: minutes as they are, and the hours they make."""
    measures = _measures(rollup)
    types = [
        "timestamptz",
        *["text"] * len(rollup.keys),
        *["text" if one.type == "numeric" else one.type for one in measures],
    ]
    arrays = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(types, 2))
    keys, columns = ", ".join(rollup.keys), ", ".join(one.column for one in measures)
    cast = ", ".join(f"{one.column}::numeric" if one.type == "numeric" else one.column for one in measures)
    merged = ", ".join(one.merged for one in measures)
    return (
        f"WITH told AS (SELECT * FROM unnest({arrays}) AS d (bucket, {keys}, {columns})), "  # noqa: S608
        f"delta AS (SELECT bucket, {keys}, {cast} FROM told) "
        f"INSERT INTO {rollup.name} AS t (grain, bucket, {keys}, writer_id, {columns}) "
        f"SELECT 'minute', bucket, {keys}, $1::uuid, {columns} FROM delta UNION ALL "
        f"SELECT 'hour', date_trunc('hour', bucket, 'UTC'), {keys}, $1::uuid, {merged} FROM delta "
        f"GROUP BY date_trunc('hour', bucket, 'UTC'), {keys} "
        f"{_on_conflict(rollup, measures)}"
    )


def _on_conflict(rollup: Rollup, measures: Iterable[_Measure]) -> str:
    joined = ", ".join(f"{one.column} = {one.joined}" for one in measures)
    return f"ON CONFLICT (grain, bucket, {', '.join(rollup.keys)}, writer_id) DO UPDATE SET {joined}"


@cache
def _merge(rollup: Rollup, grain: str) -> str:
    """$1 before which buckets are closed, $2 whose row the one row is, $3 how many rows at most."""
    measures = _measures(rollup)
    keys, columns = ", ".join(rollup.keys), ", ".join(one.column for one in measures)
    merged = ", ".join(one.merged for one in measures)
    table = f"{rollup.name}_{grain}"
    return (
        f"WITH gone AS (DELETE FROM {table} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {table} "  # noqa: S608
        "WHERE bucket < $1 AND writer_id <> $2 LIMIT $3 FOR UPDATE SKIP LOCKED)) RETURNING *), "
        f"kept AS (INSERT INTO {table} AS t (grain, bucket, {keys}, writer_id, {columns}) "
        f"SELECT '{grain}', bucket, {keys}, $2, {merged} FROM gone GROUP BY bucket, {keys} "
        f"{_on_conflict(rollup, measures)}) SELECT count(*) FROM gone"
    )
