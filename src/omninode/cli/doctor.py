"""`omninode doctor`: every setting with its origin, the database and each deployment tested."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from omninode.cli.exits import Exit, complain
from omninode.core.errors import DatabaseError, OmniNodeError

if TYPE_CHECKING:
    from rich.console import Console

    from omninode.runtime.settings import Settings
    from omninode.storage.database import Database

__all__ = ["register"]

_STRAY = "have ids that tell no time, or one to come; is a clock wrong, or are they no version 7 UUIDs?"


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(doctor)


def doctor() -> None:
    """Print every setting with where it came from; test the database and each model deployment."""
    from omninode.cli.loop import run_async

    raise typer.Exit(run_async(_doctor()))


async def _doctor() -> Exit:
    from rich.console import Console

    from omninode.runtime.settings import load_settings

    console = Console()
    settings = load_settings()
    _print_settings(console, settings)
    # Both are checked, whatever the first says; a setting to mend comes before a server to start.
    worst = max(await _check_database(console), await _check_models(console, settings), key=_weight)
    if worst is not Exit.DONE:
        complain("something is not in order, see above")
    return worst


def _weight(code: Exit) -> int:
    return (Exit.DONE, Exit.UNREACHABLE, Exit.CONFIGURATION).index(code)


def _print_settings(console: Console, settings: Settings) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("setting", "value", "from"):
        table.add_column(heading, no_wrap=heading == "setting")
    for line in settings.lines():
        table.add_row(line.variable, line.value, line.origin)
    console.print(table)
    console.print()


async def _check_database(console: Console) -> Exit:
    from omninode.runtime.database import opened_database
    from omninode.storage.partitions import strays

    try:
        async with opened_database() as (database, description):
            await database.ping()
            # The first answer includes connecting; the second tells how the server does.
            milliseconds = await database.ping()
            _print_check(console, "ok", f"database: {description}, answers in {milliseconds:.1f} ms")
            await _check_capacity(console, database)
            async with database.acquire(doing="stray rows") as session:
                for table, count in (await strays(session)).items():
                    _print_check(console, "warns", f"database: {count} rows of {table} {_STRAY}")
    except OmniNodeError as error:
        _print_check(console, "fails", f"database: {error.message}")
        return Exit.UNREACHABLE if isinstance(error, DatabaseError) else Exit.CONFIGURATION
    return Exit.DONE


async def _check_capacity(console: Console, database: Database) -> None:
    from omninode.storage.capacity import read_capacity

    capacity = await read_capacity(database)
    if capacity is not None:
        # Too few is no failure yet: it only becomes one when all pools are full.
        _print_check(console, "short" if capacity.missing else "ok", f"connections: {capacity.told()}")


async def _check_models(console: Console, settings: Settings) -> Exit:
    from omninode.core.concurrency import map_bounded
    from omninode.providers.http import HttpClient
    from omninode.routing.router import Router
    from omninode.runtime.models import NO_MODEL, find_deployments

    async with HttpClient() as http:
        deployments = await find_deployments(settings, http)
        if not deployments:
            _print_check(console, "none", NO_MODEL)
            return Exit.CONFIGURATION
        async with Router(deployments, http=http) as router:
            names = [entry.name for entry in deployments]
            probes = [entry.unwrap() for entry in await map_bounded(router.probe, names, limit=8)]
    for probe in probes:
        outcome = f"answers in {probe.duration_ms:.0f} ms" if probe.ok else probe.error
        _print_check(console, "ok" if probe.ok else "fails", f"model {probe.deployment}: {outcome}")
    return Exit.DONE if all(probe.ok for probe in probes) else Exit.UNREACHABLE


def _print_check(console: Console, verdict: str, text: str) -> None:
    from rich.text import Text

    style = {"ok": "green", "fails": "red"}.get(verdict, "yellow")
    console.print(Text.assemble((f"{verdict:<7}", style), text), soft_wrap=True)
