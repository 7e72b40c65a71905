"""`omninode db`: the database behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["register"]

commands = typer.Typer(help="The database: status, activity, schema, address, backup.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.add_typer(commands, name="db")


@commands.command()
def status() -> None:
    """Say which database is used, whether it answers, its size, schema version, and who shares breakers through it."""
    from omninode.cli.loop import run_async

    run_async(_status())


@commands.command()
def activity() -> None:
    """Show what its clients do now: open transactions by age, and who waits for whom."""
    from omninode.cli.loop import run_async

    run_async(_activity())


@commands.command()
def migrate() -> None:
    """Bring the schema to this release's version."""
    from omninode.cli.loop import run_async

    run_async(_migrate())


@commands.command()
def prune() -> None:
    """Remove the rows that are older than the settings keep them, now instead of within the hour.

    A run of 'omninode serve' or of the library does the same by itself, once an hour.
    """
    from omninode.cli.loop import run_async

    run_async(_prune())


@commands.command()
def recount(
    days: Annotated[int, typer.Option(min=1, max=30, help="How many days back to count.")] = 7,
) -> None:
    """Make the rollups, which every chart reads, again from the rows of the last days.

    Needed only for rows that were written past them, by SQL of your own or in batches. Writers wait meanwhile.
    """
    from omninode.cli.loop import run_async

    run_async(_recount(days))


@commands.command()
def url() -> None:
    """Print an address for psql and other clients.

    The embedded server, if that is what is used, is started and keeps running until nobody has been connected for ten
    minutes; 'db stop' ends it at once.
    """
    from omninode.cli.loop import run_async
    from omninode.runtime.database import reachable_url

    typer.echo(run_async(reachable_url()))


@commands.command()
def start() -> None:
    """Start the embedded server and leave it running until 'db stop'."""
    from omninode.cli.loop import run_async
    from omninode.runtime.database import keep_embedded

    typer.echo(run_async(keep_embedded()))


@commands.command()
def stop() -> None:
    """Stop the embedded server that 'db start' or 'db url' left running."""
    from omninode.cli.loop import run_async
    from omninode.runtime.database import stop_embedded

    typer.echo(run_async(stop_embedded()))


@commands.command()
def advise(apply: Annotated[bool, typer.Option("--apply", help="Build what is worth it.")] = False) -> None:
    """Say which statements cost most, which indexes would help them, and which are of no use; with the evidence."""
    from omninode.cli.loop import run_async

    run_async(_advise(is_applied=apply))


@commands.command()
def backup(file: Annotated[Path, typer.Argument(help="Where to write it; replaced when it is there.")]) -> None:
    """Write all of the database to one file, while it is in use."""
    from omninode.cli.loop import run_async
    from omninode.runtime.maintenance import back_up

    typer.echo(run_async(back_up(file)))


@commands.command()
def restore(
    file: Annotated[Path, typer.Argument(help="What 'db backup' or pg_dump --format=custom wrote.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Replace the database by a backup, all of it or nothing; nothing else may use it meanwhile."""
    from omninode.cli.loop import run_async
    from omninode.runtime.maintenance import restore as restored
    from omninode.runtime.maintenance import wanted_database

    _confirm(f"Replace all data of {wanted_database()}?", is_sure=yes)
    typer.echo(run_async(restored(file)))


@commands.command()
def reset(yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Delete all data of the embedded database, for ever."""
    from omninode.cli.loop import run_async
    from omninode.runtime.maintenance import reset as erased
    from omninode.runtime.maintenance import wanted_database

    _confirm(f"Delete all data of {wanted_database()}?", is_sure=yes)
    typer.echo(run_async(erased()))


@commands.command()
def upgrade() -> None:
    """Carry the data of an earlier PostgreSQL over to the one that this release brings; the old data is kept."""
    from omninode.cli.loop import run_async
    from omninode.runtime.maintenance import upgrade_embedded

    typer.echo(run_async(upgrade_embedded()))


def _confirm(question: str, *, is_sure: bool) -> None:
    if not is_sure:
        typer.confirm(question, abort=True)


async def _advise(*, is_applied: bool) -> None:
    from omninode.cli.advice import advice_lines
    from omninode.runtime.audit import record
    from omninode.runtime.database import opened_database
    from omninode.storage.advisor import apply_advice, report_queries

    async with opened_database() as (database, description):
        typer.echo(f"database   {description}")
        report = await report_queries(database)
        for line in advice_lines(report):
            typer.echo(line)
        for change in await apply_advice(database, report) if is_applied else ():
            if change.created:
                await record("index.built", target=change.name, detail=[("database", description)])
            typer.echo(f"{'built     ' if change.created else 'not kept  '} {change.name}: {change.reason}")
            if change.created:
                typer.echo(f"           to undo: {change.undo}")


async def _status() -> None:
    from omninode.runtime.database import opened_database

    async with opened_database() as (database, description):
        typer.echo(f"database   {description}")
        await database.ping()
        typer.echo(f"answers in {await database.ping():.1f} ms")
        for row in await database.fetch("schema.status"):
            typer.echo(f"server     {row['server']}, {row['size']}, {row['connections']} connections")
            typer.echo(f"schema     version {row['version']}")
            typer.echo(f"sharing    {row['sharing']} open processes hear of each other's breakers")


async def _activity() -> None:
    from omninode.runtime.database import opened_database

    async with opened_database(should_migrate=False) as (database, description):
        typer.echo(f"database   {description}")
        rows = await database.fetch("schema.activity")
    for row in rows:
        waits = f", waits for {', '.join(map(str, row['waits_for']))}" if row["waits_for"] else ""
        typer.echo(f"{row['pid']:<10} {row['state']} {row['transaction_s']:.1f} s{waits}: {row['statement']}")
    typer.echo(f"{len(rows)} other clients are connected")


async def _migrate() -> None:
    from omninode.runtime.database import opened_database
    from omninode.storage.migrate import migrate as bring_up

    async with opened_database(should_migrate=False) as (database, description):
        applied = await bring_up(database)
        names = ", ".join(str(version) for version in applied) or "nothing to do"
        typer.echo(f"{description}: applied {names}")


async def _recount(days: int) -> None:
    from datetime import timedelta

    from omninode.core.clock import SystemClock
    from omninode.runtime.database import opened_database
    from omninode.storage.rollup import recount as count_again

    async with opened_database() as (database, description):
        await count_again(database, SystemClock().now() - timedelta(days=days))
    typer.echo(f"database   {description}")
    typer.echo(f"counted    the rows of the last {days} days")


async def _prune() -> None:
    from omninode.core.clock import SystemClock
    from omninode.runtime.database import opened_database
    from omninode.runtime.settings import load_settings
    from omninode.storage.retention import prune as end_old_rows

    async with opened_database() as (database, description):
        report = await end_old_rows(database, load_settings().kept_days, now=SystemClock().now())
    typer.echo(f"database   {description}")
    for name in report.dropped:
        typer.echo(f"dropped    {name}")
    for table, count in report.deleted.items():
        typer.echo(f"deleted    {count} rows of {table}")
    for name in report.postponed:
        typer.echo(f"postponed  {name}: others are using it")
    if not (report.dropped or report.deleted or report.postponed):
        typer.echo("nothing is older than it is kept")
