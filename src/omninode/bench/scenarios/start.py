"""How long it takes to begin: importing, the command line, the embedded database."""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from omninode.bench.measure import Arm, Rounds, Spread, interleave
from omninode.bench.scenario import Figure, Findings, Scenario, at_most
from omninode.bench.surroundings import Surroundings
from omninode.storage.database import Database
from omninode.storage.embedded import EmbeddedPostgres
from omninode.storage.migrate import migrate

__all__ = ["SCENARIO"]

_CPU = "; import time; print(time.process_time())"
_EVERYTHING = "import omninode; [getattr(omninode, name) for name in omninode.__all__]"


def _cpu_of(program: str) -> Arm:
    """The CPU seconds of a Python that runs `program`, its own start included."""

    async def timed() -> float:
        return float(await _python("-c", program + _CPU))

    return timed


async def _python(*arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    told, problem = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"python {' '.join(arguments)} ended with {process.returncode}: {problem.decode()[-300:]}")
    return told.decode()


async def _help() -> None:
    await _python("-m", "omninode.cli", "--help")


async def _pass() -> None:
    await _python("-c", "pass")


@dataclass
class _Opening:
    """Ways to an open, migrated embedded database, each in a directory of its own a round."""

    root: Path
    number: int = 0

    async def cold(self) -> float:
        """Nothing there: make the cluster, start it, make the schema."""
        self.number += 1
        return await self._opened()

    async def again(self) -> float:
        """Data there, server stopped: the next start of a program."""
        return await self._opened()

    async def warm(self) -> float:
        """The server runs already, for another program."""
        async with EmbeddedPostgres(self._place):
            return await self._opened()

    async def _opened(self) -> float:
        server = EmbeddedPostgres(self._place)
        before = time.perf_counter()
        await server.start()
        try:
            async with Database.open(server.config) as database:
                await migrate(database)
                await database.ping()
                return time.perf_counter() - before
        finally:
            await server.stop()

    @property
    def _place(self) -> Path:
        return self.root / f"pg-{self.number}"


async def _databases(room: Surroundings) -> dict[str, Spread]:
    """The seconds of each way; not interleaved by `interleave`, because each needs what the one before left."""
    opening = _Opening(room.directory)
    times: dict[str, list[float]] = {"cold": [], "again": [], "warm": []}
    for _ in range(room.scaled(3)):
        times["cold"].append(await opening.cold())
        times["again"].append(await opening.again())
        times["warm"].append(await opening.warm())
    return {way: Spread.of(values) for way, values in times.items()}


async def _run(room: Surroundings) -> Findings:
    rounds = room.scaled(10)
    empty = _cpu_of("pass")
    cpu = await interleave(
        {"pass": empty, "import": _cpu_of("import omninode")}, rounds=rounds, budget_s=room.budget_s(4)
    )
    full = await interleave(
        {"pass": empty, "everything": _cpu_of(_EVERYTHING)}, rounds=room.scaled(3), budget_s=room.budget_s(6)
    )
    command = await interleave({"help": _help, "pass": _pass}, rounds=rounds, budget_s=room.budget_s(6))
    return Findings(
        figures=_figures(cpu, full, command, await _databases(room)),
        notes=(
            (
                "opening: cold makes the cluster, starts it and makes the schema; again finds the data and starts the "
                "server; warm finds the server running. All three include a connection and the check of the schema"
            ),
            "import omninode imports a name when it is first used; to use every name costs what the third ratio says",
            "seconds say whether the bound is kept on this machine; ratios are what can be compared",
        ),
    )


def _figures(cpu: Rounds, full: Rounds, command: Rounds, databases: dict[str, Spread]) -> tuple[Figure, ...]:
    cold, again, warm = databases["cold"], databases["again"], databases["warm"]
    return (
        Figure(name="import omninode, CPU", spread=cpu.spread("import"), unit="s", target=at_most(0.3)),
        Figure(name="import omninode / python -c pass, CPU", spread=cpu.ratio("import", "pass")),
        Figure(name="import and use every public name / pass, CPU", spread=full.ratio("everything", "pass")),
        Figure(name="omninode --help", spread=command.spread("help"), unit="s", target=at_most(0.6)),
        Figure(name="omninode --help / python -c pass", spread=command.ratio("help", "pass")),
        Figure(name="embedded database, cold open", spread=cold, unit="s", target=at_most(8)),
        Figure(name="embedded database, open again after a stop", spread=again, unit="s", target=at_most(1)),
        Figure(name="embedded database, warm open", spread=warm, unit="s", target=at_most(1)),
    )


SCENARIO = Scenario(
    name="start",
    claim="starting costs little",
    compared="python -c pass against the import and the command; a cold, a stopped and a running embedded database",
    limit="the start of Python itself",
    run=_run,
)
