"""kill -9 of who writes, kill -9 of the server, the server away: every acknowledged row is counted afterwards."""

from __future__ import annotations

import random
from collections.abc import Sequence

from omninode.bench.crash.rows import Tally
from omninode.bench.crash.trials import Outage, Trial, interrupt_server, kill_writer, measure_memory
from omninode.bench.measure import Spread
from omninode.bench.scenario import Figure, Findings, Scenario, at_most
from omninode.bench.surroundings import Surroundings
from omninode.storage.database import Database
from omninode.storage.embedded import EmbeddedPostgres
from omninode.storage.migrate import migrate

__all__ = ["SCENARIO"]

_POINTS = 100
_LATEST_KILL_S = 0.5
_ROWS_PER_S = 5000
_MEBIBYTE = 1024 * 1024


async def _run(room: Surroundings) -> Findings:
    writers = await _kill_writers(room, count=room.scaled(_POINTS, least=2))
    killed, away = await _interrupt_servers(room)
    seconds = room.budget_s(60)
    memory = await measure_memory(room.directory / "memory", rows_per_s=_ROWS_PER_S, seconds=seconds)
    figures = [
        *_figures(f"{len(writers)} writers killed", writers),
        *_figures(f"{len(killed)} servers killed", killed),
        *_figures(f"server away for {room.budget_s(60):.0f} s", [away]),
        Figure(
            name=f"{_ROWS_PER_S:,} rows/s for {seconds:.0f} s without a database: memory grew by",
            spread=Spread.of([memory["grown_bytes"] / _MEBIBYTE]),
            unit="MiB",
            target=at_most(150),
        ),
    ]
    return Findings(figures=figures, notes=_notes(writers, killed, away))


async def _kill_writers(room: Surroundings, *, count: int) -> list[Trial]:
    database = await room.database()
    chance = random.Random(0)  # noqa: S311 - when to kill, the same each time
    root = room.directory / "killed"
    return [
        await kill_writer(database, root / str(number), after_s=chance.uniform(0, _LATEST_KILL_S))
        for number in range(count)
    ]


async def _interrupt_servers(room: Surroundings) -> tuple[list[Trial], Trial]:
    """On a server of their own; the shared one is not to be killed."""
    server = EmbeddedPostgres(room.directory / "victim")
    await server.start()
    try:
        async with Database.open(server.config, pool_size=1) as database:
            await migrate(database)
        chance = random.Random(1)  # noqa: S311 - when to kill, the same each time
        root = room.directory / "interrupted"
        killed = [
            await interrupt_server(
                server,
                root / str(number),
                outage=Outage(rows_per_s=_ROWS_PER_S, before_s=chance.uniform(0.2, 1.0), down_s=0.5, is_killed=True),
            )
            for number in range(room.scaled(10))
        ]
        away = Outage(rows_per_s=_ROWS_PER_S, before_s=1.0, down_s=room.budget_s(60))
        return killed, await interrupt_server(server, root / "away", outage=away)
    finally:
        await server.stop()


def _figures(name: str, trials: Sequence[Trial]) -> list[Figure]:
    """Counts by trial, none of which may be other than 0."""
    ledger = [trial.tallies["ledger"] for trial in trials]
    telemetry = [trial.tallies["telemetry"] for trial in trials]
    counts = {
        "acknowledged ledger rows lost": [each.lost for each in ledger],
        "telemetry rows lost": [each.lost for each in telemetry],
        "rows stored twice": [mine.doubled + theirs.doubled for mine, theirs in zip(ledger, telemetry, strict=True)],
    }
    return [
        Figure(name=f"{name}: {what}", spread=Spread.of(values), unit="rows", target=at_most(0), takes_worst=True)
        for what, values in counts.items()
    ]


def _notes(writers: Sequence[Trial], killed: Sequence[Trial], away: Trial) -> tuple[str, ...]:
    def told(trials: Sequence[Trial], kind: str) -> str:
        total = sum((trial.tallies[kind] for trial in trials), Tally())
        return f"{total.acknowledged:,} {kind} rows acknowledged, {total.stored:,} stored"

    groups = {"writers killed": writers, "servers killed": killed, "server away": [away]}
    counted = tuple(f"{name}: {told(trials, 'ledger')}; {told(trials, 'telemetry')}" for name, trials in groups.items())
    return (
        *counted,
        "a writer is killed up to 0.5 s after its first acknowledgement; it had no time to acknowledge its last rows",
        "telemetry survives kill -9, so none may be lost; what a power cut costs (up to 0.2 s) nothing here can show",
    )


SCENARIO = Scenario(
    name="crash",
    claim="no acknowledged row is lost and none is written twice, whatever is killed",
    compared="rows acknowledged by the spool against rows in the table",
    limit="none lost, none twice",
    run=_run,
    on_request=True,
)
