"""The database layer by itself: batches of a ten-column table, writers beside each other, and a pool that is empty."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from omninode.bench.measure import Rounds, Spread, interleave
from omninode.bench.scenario import Figure, Findings, Scenario, Target, at_least, at_most
from omninode.bench.surroundings import Surroundings
from omninode.bench.writing import Row, Ways
from omninode.core.concurrency import gather_settled
from omninode.core.errors import DatabaseError, PoolExhaustedError
from omninode.core.ids import uuid7
from omninode.storage.database import Database
from omninode.storage.optimizer import PerformanceOptimizer

__all__ = ["SCENARIO"]

_WRITERS = 4
_BATCHES_EACH = 8
_SHARED_KEYS = 1_000
_FIGHT_S = 30.0


async def _run(room: Surroundings) -> Findings:
    database = await room.database()
    async with _table(database) as ways:
        inserts, changes = await _ladder(room, ways)
        together = await interleave(
            {"one": lambda: _written(ways, writers=1), "four": lambda: _written(ways, writers=_WRITERS)},
            rounds=room.scaled(6),
            budget_s=room.budget_s(15),
        )
        cpu = [await _client_cpu_us(ways) for _ in range(room.scaled(15))]
        fight = await _fought(ways, seconds=room.budget_s(_FIGHT_S))
    exhausted = [await _until_exhausted(database) for _ in range(room.scaled(2))]
    return Findings(
        figures=(
            *_ladder_figures(inserts, changes),
            Figure(name="4 writers / 1 writer, rows/s", spread=together.ratio("one", "four"), target=at_least(1.3)),
            Figure(name="client CPU a row of a batch of 1,000", spread=Spread.of(cpu), unit="us", target=at_most(4)),
            Figure(
                name=f"errors of {_WRITERS} writers upserting the same {_SHARED_KEYS:,} keys",
                spread=Spread.of([float(fight[1])]),
                unit="",
                target=at_most(0),
            ),
            Figure(
                name="until an empty pool is reported",
                spread=Spread.of(exhausted),
                unit="s",
                target=at_most(5),
                takes_worst=True,
            ),
        ),
        notes=(
            "ten columns (2 uuid, timestamptz, 3 text, 2 double, boolean, jsonb of 200 bytes), primary key only, every commit synced",
            f"the {_WRITERS} writers fought for {room.budget_s(_FIGHT_S):.0f} s and wrote {fight[0]:,} batches",
        ),
    )


@asynccontextmanager
async def _table(database: Database) -> AsyncIterator[Ways]:
    await database.execute("bench_ladder.create")
    try:
        yield Ways(
            database=database,
            optimizer=PerformanceOptimizer(database, batch_size=1000),
            table="bench_ladder",
            statements="bench_ladder",
            make_rows=_rows,
            changed=("duration_ms", "ok"),
            count=1000,
        )
    finally:
        await database.execute("bench_ladder.drop")


async def _ladder(room: Surroundings, ways: Ways) -> tuple[Mapping[int, Rounds], Mapping[str, Rounds]]:
    inserts = {}
    for count, seconds in ((100, 6), (1000, 15)):
        sized = replace(ways, count=count)
        arms = {**sized.inserts(), "server's COPY": await sized.served()}
        inserts[count] = await interleave(arms, rounds=room.scaled(15), budget_s=room.budget_s(seconds))
    changes = {
        operation: await interleave(ways.changes(operation), rounds=room.scaled(6), budget_s=room.budget_s(8))
        for operation in ("UPDATE", "DELETE", "UPSERT")
    }
    return inserts, changes


def _ladder_figures(inserts: Mapping[int, Rounds], changes: Mapping[str, Rounds]) -> list[Figure]:
    least: dict[str, Target | None] = {"UPDATE": at_least(15), "DELETE": at_least(30), "UPSERT": None}
    thousand = inserts[1000].times
    share = [100 * limit / ours for limit, ours in zip(thousand["server's COPY"], thousand["batch"], strict=True)]
    return [
        Figure(
            name="INSERT 1,000 rows: one a row / batch",
            spread=inserts[1000].ratio("one a row", "batch"),
            target=at_least(25),
        ),
        Figure(
            name="INSERT 1,000 rows: speed of the server's own COPY reached",
            spread=Spread.of(share),
            unit="%",
            target=at_least(45),
        ),
        Figure(
            name="INSERT 100 rows: one a row / batch",
            spread=inserts[100].ratio("one a row", "batch"),
            target=at_least(15),
        ),
        *(
            Figure(
                name=f"{operation} 1,000 rows: one a row / batch",
                spread=rounds.ratio("one a row", "batch"),
                target=least[operation],
            )
            for operation, rounds in changes.items()
        ),
    ]


async def _written(ways: Ways, *, writers: int) -> float:
    """Seconds in which so many writers together insert the same number of batches."""
    await ways.run("clear")
    batches = [ways.make_rows(ways.count) for _ in range(_WRITERS * _BATCHES_EACH)]

    async def write(number: int) -> None:
        for batch in batches[number::writers]:
            await ways.batch(batch)

    before = time.perf_counter()
    for done in await gather_settled([partial(write, number) for number in range(writers)]):
        done.unwrap()
    seconds = time.perf_counter() - before
    await ways.expect(len(batches) * ways.count)
    return seconds


async def _client_cpu_us(ways: Ways) -> float:
    """CPU of this process, in microseconds a row; the server is another process."""
    await ways.run("clear")
    rows = ways.make_rows(ways.count)
    before = time.process_time()
    await ways.batch(rows)
    return (time.process_time() - before) / ways.count * 1e6


async def _fought(ways: Ways, *, seconds: float) -> tuple[int, int]:
    """Batches that were written, and errors that a caller saw, while writers upsert the same keys, each in an order of its own."""
    await ways.run("clear")
    rows = ways.make_rows(_SHARED_KEYS)
    ends = time.perf_counter() + seconds
    written = errors = 0

    async def fight(number: int) -> None:
        nonlocal written, errors
        turn = number * _SHARED_KEYS // _WRITERS
        order = [*rows[turn:], *rows[:turn]]
        while time.perf_counter() < ends:
            try:
                await ways.optimizer.batch_write_with_pooling(order, "UPSERT", ways.table)
                written += 1
            except DatabaseError:
                errors += 1

    for done in await gather_settled([partial(fight, number) for number in range(_WRITERS)]):
        done.unwrap()
    return written, errors


async def _until_exhausted(database: Database) -> float:
    """Seconds until one more caller is told that every connection is in use."""
    async with Database.open(database.config, pool_size=1) as small, small.acquire(doing="hold the only connection"):
        before = time.perf_counter()
        try:
            async with small.acquire():
                raise RuntimeError("a pool of one gave a second connection")
        except PoolExhaustedError:
            return time.perf_counter() - before


def _rows(count: int) -> list[Row]:
    run, now = uuid7(), datetime.now(UTC)
    return [
        {
            "id": uuid7(),
            "ts": now,
            "run_id": run,
            "agent": f"agent-{number % 20}",
            "phase": "parallel_execution",
            "model": f"model-{number % 5}",
            "duration_ms": number / 7,
            "cost": number / 1e6,
            "ok": True,
            "labels": {"number": number, "source": "bench", "note": "x" * 150},
        }
        for number in range(count)
    ]


SCENARIO = Scenario(
    name="database",
    claim="batches cost a small part of single statements, and writers do not hold each other up",
    compared="batch_write_with_pooling against one statement a row through the same pool",
    limit="the server's own COPY of the same rows from a binary file, with no client",
    run=_run,
    on_request=True,
)
