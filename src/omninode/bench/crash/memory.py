"""A process whose database is away: it takes rows at a steady rate and says how much its memory grew.

    python -m omninode.bench.crash.memory DIRECTORY ROWS_PER_S SECONDS

Prints one JSON object at its end.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from pathlib import Path

import orjson

from omninode.bench.crash.rows import TABLE, row
from omninode.core.ids import uuid7
from omninode.storage.config import ConnectionConfig
from omninode.storage.database import Database
from omninode.storage.flusher import SpoolFlusher
from omninode.storage.spool import Spool

__all__: list[str] = []

_TICK_S = 0.02
_WARM_S = 1.0


def _peak_bytes() -> int:
    """The most memory this process has had so far."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not getrusage, which on Linux still tells of the parent's memory after a fork and exec.
        [line] = [line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


async def _put(spool: Spool, *, rows_per_s: int, seconds: float) -> None:
    trial, began, number = uuid7(), time.monotonic(), 0
    while (passed := time.monotonic() - began) < seconds:
        while number < passed * rows_per_s:
            spool.put(TABLE, row(trial, "telemetry", number))
            number += 1
        await asyncio.sleep(_TICK_S)


async def _main(directory: Path, rows_per_s: int, seconds: float) -> None:
    away = ConnectionConfig(host=str(directory / "nowhere"), user="nobody", database="nothing")
    spool = Spool(directory / "spool")
    # Not entered: entering it would raise, as nobody answers.
    database = Database.open(away, pool_size=2)
    flusher = SpoolFlusher(spool, database)
    flusher.start()
    await _put(spool, rows_per_s=rows_per_s, seconds=_WARM_S)
    before = _peak_bytes()
    await _put(spool, rows_per_s=rows_per_s, seconds=seconds)
    told = {"grown_bytes": _peak_bytes() - before, "peak_bytes": _peak_bytes()}
    statistics = spool.statistics()
    told |= {
        "accepted": statistics.accepted,
        "dropped": sum(statistics.dropped.values()),
        "waiting": statistics.waiting,
        "memory_rows": statistics.memory_rows,
        "disk_bytes": statistics.disk_bytes,
        "failures": flusher.statistics().failures,
    }
    await flusher.close(close_s=0.0)
    sys.stdout.write(orjson.dumps(told).decode() + "\n")


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
