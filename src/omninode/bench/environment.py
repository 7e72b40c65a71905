"""What the figures were measured on: a number without its machine is no number."""

from __future__ import annotations

import asyncio
import os
import platform
import statistics
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import omninode
from omninode.bench.surroundings import Surroundings
from omninode.storage.install import find_install

__all__ = ["Environment", "describe"]

_SYNCS = 11


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Where and with what it ran. `fsync_ms` is the median of syncing 8 KiB; `load` the run queue of the last minute."""

    omninode: str
    git: str | None
    python: str
    system: str
    cores: int
    load: float
    postgres: str
    fsync_ms: float
    at: datetime


async def describe(room: Surroundings) -> Environment:
    """The environment of this process."""
    return Environment(
        omninode=version("omninode"),
        git=await _git_hash(),
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        cores=_cores(),
        load=os.getloadavg()[0],
        postgres=str(find_install().major),
        fsync_ms=await asyncio.to_thread(_fsync_ms, room.directory / "fsync"),
        at=datetime.now(UTC),
    )


def _cores() -> int:
    # The cores this process may use, where the system can tell.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _fsync_ms(path: Path) -> float:
    times = []
    with path.open("wb") as file:
        for _ in range(_SYNCS):
            file.write(bytes(8192))
            before = time.perf_counter()
            file.flush()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - before)
    path.unlink()
    return 1000 * statistics.median(times)


async def _git_hash() -> str | None:
    """The commit of the checkout we run from; None for an installed package or without git."""
    place = str(Path(omninode.__file__ or ".").parent)
    try:
        process = await asyncio.create_subprocess_exec(
            *("git", "-C", place, "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError:
        return None
    told, _ = await process.communicate()
    return told.decode().strip() or None if process.returncode == 0 else None
