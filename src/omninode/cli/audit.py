"""`omninode audit`: who did what, and whether the log of it is whole."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from omninode.cli.exits import Exit, complain
from omninode.core.errors import InvalidArgumentError

if TYPE_CHECKING:
    from omninode.storage.audit import Checkpoint

__all__ = ["register"]

commands = typer.Typer(help="The audit log: show it, checkpoint it, verify it.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.add_typer(commands, name="audit")


@commands.command()
def show(
    limit: Annotated[int, typer.Option("--limit", "-n", help="How many, newest last.", min=1, max=10_000)] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines, as they are stored.")] = False,
) -> None:
    """Show what was done by hand or refused, by whom and when."""
    from omninode.cli.loop import run_async

    run_async(_show(limit, as_json=as_json))


@commands.command()
def checkpoint() -> None:
    """Print the end of the log as one line, to be kept outside of the database: omninode audit checkpoint >> FILE.

    With OMNINODE_AUDIT_KEY it is sealed, so that nobody without the key can make one.
    """
    from omninode.cli.loop import run_async

    run_async(_checkpoint())


@commands.command()
def verify(
    checkpoints: Annotated[
        Path | None, typer.Option("--checkpoint", help="A file of checkpoints; without one a cut-off end is not seen.")
    ] = None,
) -> None:
    """Say whether a row was edited, removed, put in, moved or cut off, and which is the first; exit code 1 if so."""
    from omninode.cli.loop import run_async

    raise typer.Exit(run_async(_verify(checkpoints)))


def _key() -> str | None:
    from omninode.runtime.settings import load_settings

    key = load_settings().audit_key
    return key.get_secret_value() if key else None


async def _show(limit: int, *, as_json: bool) -> None:
    import orjson

    from omninode.runtime.database import opened_database

    async with opened_database() as (database, _):
        rows = await database.fetch("audit.latest", limit)
    for row in reversed(rows):
        if as_json:
            typer.echo(row["entry"])
            continue
        entry = orjson.loads(row["entry"])
        detail = orjson.dumps(entry["detail"]).decode() if entry["detail"] else ""
        line = f"{row['seq']:>6}  {entry['at'][:19]}  {entry['actor']}  {entry['action']}  {entry['target']}  {detail}"
        # One row is one line, whatever it says, and moves no cursor.
        typer.echo("".join(sign if sign.isprintable() else "\ufffd" for sign in line.rstrip()))
    if not rows:
        complain("nothing has been put down yet")


async def _checkpoint() -> None:
    from omninode.core.clock import SystemClock
    from omninode.runtime.database import opened_database
    from omninode.storage.audit import Checkpoint, head_of

    async with opened_database() as (database, _):
        seq, last = await head_of(database)
    at = SystemClock().now().isoformat(timespec="seconds")
    typer.echo(Checkpoint(seq=seq, hash=last, at=at).sealed(_key()).as_line())


def _read(file: Path) -> list[Checkpoint]:
    from omninode.storage.audit import Checkpoint

    try:
        return Checkpoint.read(file.read_text(encoding="utf-8"), key=_key())
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgumentError(f"the checkpoints in {file} cannot be read: {error}") from error


async def _verify(file: Path | None) -> Exit:
    from omninode.runtime.database import opened_database
    from omninode.storage.audit import unguarded
    from omninode.storage.audit import verify as verified

    points = await asyncio.to_thread(_read, file) if file is not None else []
    async with opened_database() as (database, description):
        verdict = await verified(database, points)
        missing = await unguarded(database)
    for name in missing:
        complain(f"the trigger {name} of audit_log is gone or switched off, so rows could be changed")
    if verdict.fault is not None:
        complain(f"the audit log of {description} is not whole: {verdict.fault.message}")
        return Exit.FAILED
    compared = (
        f", and {len(points)} checkpoints agree" if points else "; without a checkpoint a cut-off end is not seen"
    )
    typer.echo(f"{verdict.rows} rows are whole and in order{compared}")
    return Exit.DONE
