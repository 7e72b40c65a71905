"""Trials: something is killed or taken away while rows come, and afterwards every row is accounted for."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import orjson

from omninode.bench.crash.rows import KINDS, TABLE, Tally, row, tally
from omninode.core.deadline import Deadline
from omninode.core.errors import OmniNodeError
from omninode.core.ids import uuid7
from omninode.storage.config import PoolConfig
from omninode.storage.database import Database
from omninode.storage.embedded import EmbeddedPostgres
from omninode.storage.flusher import FlusherConfig, SpoolFlusher
from omninode.storage.spool import Spool

__all__ = ["Outage", "Trial", "interrupt_server", "kill_writer", "measure_memory"]

_DRAIN_S = 120.0
_TICK_S = 0.02
_LEDGER_EVERY_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What became of the rows, by kind, and how often the flusher failed meanwhile."""

    tallies: Mapping[str, Tally]
    unreadable: int = 0
    failures: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """Rows come at `rows_per_s` for `before_s` with the server, then for `down_s` without it."""

    rows_per_s: int = 5000
    before_s: float = 0.5
    down_s: float = 2.0
    is_killed: bool = False


async def kill_writer(database: Database, directory: Path, *, after_s: float) -> Trial:
    """Kill a writing process (`crash.writer`) `after_s` after it relies on rows of each kind, and write what it left."""
    trial = uuid7()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "omninode.bench.crash.writer", str(directory), database.config.dsn, str(trial)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        first = b""
        while not all(_acknowledged(first.decode()).values()):
            line = await process.stdout.readline()
            if not line:
                raise RuntimeError(f"the writer ended by itself: {(await process.stderr.read()).decode()[-500:]}")
            first += line
        reading = asyncio.create_task(process.stdout.read())
        await asyncio.sleep(after_s)
    finally:
        # Once only: a second signal would look after the process and take its end from who waits for it.
        process.kill()
        await process.wait()
    told = first + await reading
    flusher = SpoolFlusher(Spool(directory), database)
    await flusher.adopt(Deadline.after(_DRAIN_S))
    statistics = flusher.statistics()
    if statistics.last_error is not None:
        raise RuntimeError(f"what the writer left could not be written: {statistics.last_error}")
    acknowledged = _acknowledged(told.decode())
    tallies = {kind: await tally(database, trial, kind, acknowledged=acknowledged[kind]) for kind in KINDS}
    return Trial(tallies=tallies, unreadable=statistics.unreadable)


def _acknowledged(told: str) -> dict[str, set[int]]:
    """By kind; a last line that was cut off says nothing."""
    lines = [line.split() for line in told.split("\n")[:-1]]
    taken = max((int(number) for kind, number in lines if kind == "t"), default=0)
    return {"ledger": {int(number) for kind, number in lines if kind == "l"}, "telemetry": set(range(taken))}


async def interrupt_server(server: EmbeddedPostgres, directory: Path, *, outage: Outage) -> Trial:
    """Take the server away while rows come, start it again, write everything; the server must be `start`ed."""
    trial = uuid7()
    pool = PoolConfig(size=2, acquire_timeout_s=0.5)
    spool = Spool(directory)
    config = FlusherConfig(interval_s=0.01, longest_wait_s=0.2)
    async with Database.open(server.config, pool=pool) as database:
        flusher = SpoolFlusher(spool, database, config=config)
        flusher.start()
        async with _producing(spool, trial, rows_per_s=outage.rows_per_s) as acknowledged:
            await asyncio.sleep(outage.before_s)
            await _take_away(server, is_killed=outage.is_killed)
            await asyncio.sleep(outage.down_s)
        await server.start()
        left = await flusher.close(deadline=Deadline.after(_DRAIN_S))
        if left:
            raise RuntimeError(f"{left} rows were not written in {_DRAIN_S:.0f} s: {flusher.statistics().last_error}")
    # Another pool: the one above may hold connections to the server that was.
    async with Database.open(server.config, pool=pool) as database:
        tallies = {kind: await tally(database, trial, kind, acknowledged=acknowledged[kind]) for kind in KINDS}
    return Trial(tallies=tallies, failures=flusher.statistics().failures)


async def _take_away(server: EmbeddedPostgres, *, is_killed: bool) -> None:
    if not is_killed:
        await server.stop()
        return
    status = await server.status()
    assert status.pid is not None
    os.kill(status.pid, signal.SIGKILL)


@asynccontextmanager
async def _producing(spool: Spool, trial: UUID, *, rows_per_s: int) -> AsyncIterator[dict[str, list[int]]]:
    """Put rows of both kinds while the body runs; yields what is acknowledged, as it grows."""
    acknowledged: dict[str, list[int]] = {kind: [] for kind in KINDS}
    tasks = [
        asyncio.create_task(_put_telemetry(spool, trial, acknowledged["telemetry"], rows_per_s)),
        asyncio.create_task(_put_ledger(spool, trial, acknowledged["ledger"])),
    ]
    try:
        yield acknowledged
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()


async def _put_telemetry(spool: Spool, trial: UUID, acknowledged: list[int], rows_per_s: int) -> None:
    began, number = time.monotonic(), 0
    while True:
        due = int((time.monotonic() - began) * rows_per_s)
        while number < due:
            if spool.put(TABLE, row(trial, "telemetry", number)):
                acknowledged.append(number)
            number += 1
        await asyncio.sleep(_TICK_S)


async def _put_ledger(spool: Spool, trial: UUID, acknowledged: list[int]) -> None:
    number = 0
    while True:
        with suppress(OmniNodeError):
            await spool.put_ledger(TABLE, row(trial, "ledger", number))
            acknowledged.append(number)
        number += 1
        await asyncio.sleep(_LEDGER_EVERY_S)


async def measure_memory(directory: Path, *, rows_per_s: int, seconds: float) -> Mapping[str, int]:
    """What `crash.memory` tells after `seconds` without a database."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "omninode.bench.crash.memory", str(directory), str(rows_per_s), str(seconds)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    told, problem = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"the process ended with {process.returncode}: {problem.decode()[-500:]}")
    found: Mapping[str, int] = orjson.loads(told)
    return found
