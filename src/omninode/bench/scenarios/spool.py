"""The way of a row from the hand of its author to the table: what taking it costs, and how many a second arrive."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from omninode.bench.crash.rows import TABLE, row
from omninode.bench.crash.trials import measure_memory
from omninode.bench.measure import Arm, Rounds, Spread, interleave
from omninode.bench.scenario import Figure, Findings, Scenario, at_least, at_most
from omninode.bench.surroundings import Surroundings
from omninode.core.deadline import Deadline
from omninode.core.ids import uuid7
from omninode.storage.database import Database
from omninode.storage.flusher import SpoolFlusher
from omninode.storage.optimizer import PerformanceOptimizer
from omninode.storage.spool import Spool

__all__ = ["SCENARIO"]

_PUTS = 20_000
_ROWS = 60_000
_LEDGER_ROWS = 400
_MOST_WAITING = 20_000
_BURST = 50
_DRAIN_S = 120.0
_MEBIBYTE = 1024 * 1024
# Any: JSON values by column.
_Rows = list[dict[str, Any]]


@dataclass
class _Arms:
    """Ways to take, to make safe and to store the same rows; each round begins with nothing there."""

    database: Database
    root: Path
    rows: _Rows
    slowest_us: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)

    def taking(self) -> dict[str, Arm]:
        return {"put": self._put, "bare write": self._bare_write}

    def syncing(self) -> dict[str, Arm]:
        return {"put_ledger": self._put_ledger, "a sync each": self._sync_each}

    def storing(self) -> dict[str, Arm]:
        return {"spool": self._through_spool, "batch": self._in_batches}

    async def _put(self) -> float:
        """Beside a flusher at work, each `put` timed by itself."""
        await self.database.execute("bench_rows.clear")
        spool = Spool(self._place())
        flusher = SpoolFlusher(spool, self.database)
        flusher.start()
        taken: list[int] = []
        for start in range(0, _PUTS, _BURST):
            for each in self.rows[start : start + _BURST]:
                before = time.perf_counter_ns()
                spool.put(TABLE, each)
                taken.append(time.perf_counter_ns() - before)
            await asyncio.sleep(0)
        await self._emptied(flusher)
        self.slowest_us.append(sorted(taken)[len(taken) * 99 // 100] / 1000)
        return sum(taken) / 1e9

    async def _bare_write(self) -> float:
        data = [orjson.dumps(each) for each in self.rows[:_PUTS]]
        descriptor = self._open()
        try:
            before = time.perf_counter()
            for each in data:
                os.write(descriptor, each)
            return time.perf_counter() - before
        finally:
            os.close(descriptor)

    async def _put_ledger(self) -> float:
        """As many authors as rows, all waiting."""
        spool = Spool(self._place())
        before = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for each in self.rows[:_LEDGER_ROWS]:
                tasks.create_task(spool.put_ledger(TABLE, each))
        seconds = time.perf_counter() - before
        for track in spool.tracks():
            track.release(_LEDGER_ROWS)
        spool.close()
        return seconds

    async def _sync_each(self) -> float:
        data = [orjson.dumps(each) for each in self.rows[:_LEDGER_ROWS]]
        descriptor = self._open()

        def written() -> float:
            before = time.perf_counter()
            for each in data:
                os.write(descriptor, each)
                os.fsync(descriptor)
            return time.perf_counter() - before

        try:
            return await asyncio.to_thread(written)
        finally:
            os.close(descriptor)

    async def _through_spool(self) -> float:
        """From the first `put` to the last row in the table; authors pause while many wait."""
        await self.database.execute("bench_rows.clear")
        spool = Spool(self._place())
        before, cpu_before = time.perf_counter(), time.process_time()
        flusher = SpoolFlusher(spool, self.database)
        flusher.start()
        for start in range(0, len(self.rows), _BURST):
            for each in self.rows[start : start + _BURST]:
                spool.put(TABLE, each)
            await asyncio.sleep(0)
            if spool.waiting > _MOST_WAITING:
                await asyncio.sleep(0.05)
        await self._emptied(flusher)
        seconds = time.perf_counter() - before
        self.cpu_us.append((time.process_time() - cpu_before) / len(self.rows) * 1e6)
        await self._expect_all()
        return seconds

    async def _in_batches(self) -> float:
        """The same rows by the batch door, already in hand, a thousand at a time."""
        await self.database.execute("bench_rows.clear")
        optimizer = PerformanceOptimizer(self.database)
        before = time.perf_counter()
        for start in range(0, len(self.rows), 1000):
            part = self.rows[start : start + 1000]
            await optimizer.batch_write_with_pooling(part, "INSERT", TABLE, batch_size=1000)
        seconds = time.perf_counter() - before
        await self._expect_all()
        return seconds

    async def _emptied(self, flusher: SpoolFlusher) -> None:
        left = await flusher.close(deadline=Deadline.after(_DRAIN_S))
        if left:
            raise RuntimeError(f"{left} rows were not written: {flusher.statistics().last_error}")

    async def _expect_all(self) -> None:
        found = await self.database.fetchval("bench_rows.count")
        if found != len(self.rows):
            raise RuntimeError(f"{found} rows are in the table instead of {len(self.rows)}")

    def _place(self) -> Path:
        return self.root / uuid7().hex

    def _open(self) -> int:
        self.root.mkdir(exist_ok=True)
        return os.open(self.root / f"bare-{uuid7().hex}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


async def _run(room: Surroundings) -> Findings:
    database = await room.database()
    arms = _Arms(database, room.directory / "spool", _rows(room.scaled(_ROWS, least=2000)))
    taking = await interleave(arms.taking(), rounds=room.scaled(9), budget_s=room.budget_s(30))
    slowest = Spread.of(arms.slowest_us[1:] or arms.slowest_us)
    syncing = await interleave(arms.syncing(), rounds=room.scaled(9), budget_s=room.budget_s(20))
    storing = await interleave(arms.storing(), rounds=room.scaled(5), budget_s=room.budget_s(60))
    await database.execute("bench_rows.clear")
    seconds = room.budget_s(20)
    memory = await measure_memory(room.directory / "memory", rows_per_s=5000, seconds=seconds)
    return Findings(
        figures=(
            Figure(name="put: slowest but one in a hundred", spread=slowest, unit="us", target=at_most(50)),
            Figure(name="put / bare write of the same JSON", spread=taking.ratio("put", "bare write")),
            Figure(
                name=f"{_LEDGER_ROWS} authors: a sync each / put_ledger",
                spread=syncing.ratio("a sync each", "put_ledger"),
            ),
            Figure(
                name="from put to the table",
                spread=_rate(storing, "spool", len(arms.rows)),
                unit="rows/s",
                target=at_least(30_000),
            ),
            Figure(name="from put to the table: CPU of this process a row", spread=Spread.of(arms.cpu_us), unit="us"),
            Figure(name="the same rows in hand, by the batch door / spool", spread=storing.ratio("batch", "spool")),
            Figure(
                name=f"5,000 rows/s for {seconds:.0f} s without a database: memory grew by",
                spread=Spread.of([memory["grown_bytes"] / _MEBIBYTE]),
                unit="MiB",
                target=at_most(150),
            ),
        ),
        notes=_notes(arms, taking),
    )


def _rows(count: int) -> _Rows:
    trial = uuid7()
    return [row(trial, "telemetry", number) for number in range(count)]


def _rate(rounds: Rounds, arm: str, count: int) -> Spread:
    return Spread.of([count / seconds for seconds in rounds.times[arm]])


def _notes(arms: _Arms, taking: Rounds) -> tuple[str, ...]:
    size = len(orjson.dumps(arms.rows[-1]))
    return (
        (
            f"{TABLE} with its indexes, rows of {size} bytes of JSON; put takes {taking.spread('put').median / _PUTS * 1e6:.1f} "
            f"us on average and a bare write {taking.spread('bare write').median / _PUTS * 1e6:.1f} us"
        ),
        f"authors and flusher share one process and one event loop; authors pause while {_MOST_WAITING:,} rows wait",
    )


SCENARIO = Scenario(
    name="spool",
    claim="taking a row costs its author microseconds, and tens of thousands a second arrive",
    compared="put and put_ledger against bare writes of the same bytes, the spool against the batch door",
    limit="the write, the sync and the COPY themselves",
    run=_run,
)
