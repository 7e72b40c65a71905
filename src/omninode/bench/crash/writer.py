"""A process to be killed: it puts ledger and telemetry rows and flushes them, and says which it may rely on.

    python -m omninode.bench.crash.writer DIRECTORY DSN TRIAL

A line `l N` says that ledger row N was acknowledged, a line `t N` that telemetry rows 0 to N - 1 were taken.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

from omninode.bench.crash.rows import TABLE, row
from omninode.storage.database import Database
from omninode.storage.flusher import FlusherConfig, SpoolFlusher
from omninode.storage.spool import Spool, SpoolConfig

__all__: list[str] = []

# Small bounds, so that a few hundred milliseconds see segments end and rows be read back from disk.
_SPOOL = SpoolConfig(memory_rows=500, segment_bytes=100_000, sync_interval_s=0.05)
_FLUSHER = FlusherConfig(interval_s=0.001, batch_rows=100)
_BURST = 97
_LEDGER_WRITERS = 8


def _say(kind: str, number: int) -> None:
    os.write(1, f"{kind} {number}\n".encode())


async def _write_ledger(spool: Spool, trial: UUID, numbers: Iterator[int]) -> None:
    for number in numbers:
        await spool.put_ledger(TABLE, row(trial, "ledger", number))
        _say("l", number)


async def _write_telemetry(spool: Spool, trial: UUID) -> None:
    for number in itertools.count(0, _BURST):
        for each in range(number, number + _BURST):
            spool.put(TABLE, row(trial, "telemetry", each))
        _say("t", number + _BURST)
        await asyncio.sleep(0.001)


async def _main(directory: Path, dsn: str, trial: UUID) -> None:
    spool = Spool(directory, config=_SPOOL)
    numbers = itertools.count()
    async with (
        Database.open(dsn, pool_size=2) as database,
        SpoolFlusher(spool, database, config=_FLUSHER),
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(_write_telemetry(spool, trial))
        for _ in range(_LEDGER_WRITERS):
            tasks.create_task(_write_ledger(spool, trial, numbers))


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), sys.argv[2], UUID(sys.argv[3])))
