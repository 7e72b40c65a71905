"""`omninode runs`: what ran before."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from omninode.core.errors import InvalidArgumentError

if TYPE_CHECKING:
    from omninode.storage.database import Database
    from omninode.storage.session import Row

__all__ = ["register"]

commands = typer.Typer(help="Earlier runs: list them, show one.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.add_typer(commands, name="runs")


@commands.command("list")
def list_runs(
    limit: Annotated[int, typer.Option("--limit", "-n", help="How many, newest first.", min=1, max=1000)] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the latest runs."""
    from omninode.cli.loop import run_async

    run_async(_list(limit, as_json=as_json))


@commands.command("show")
def show_run(
    run: Annotated[str, typer.Argument(help="The run's id, or its last characters as shown by 'runs list'.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the stored report as JSON.")] = False,
) -> None:
    """Show one run: its report, tasks, calls and votes."""
    from omninode.cli.loop import run_async

    run_async(_show(run, as_json=as_json))


async def _list(limit: int, *, as_json: bool) -> None:
    from omninode.runtime.database import opened_database

    async with opened_database() as (database, _):
        rows = await database.fetch("runs.latest", limit)
    if as_json:
        _print_json([dict(row) for row in rows])
        return
    _print_table(rows)


async def _show(run: str, *, as_json: bool) -> None:
    from omninode.runtime.database import opened_database

    async with opened_database() as (database, _):
        row = await _find(database, run)
        calls = await database.fetch("runs.calls", row["id"])
        votes = await database.fetch("runs.votes", row["id"])
        outputs = await database.fetch("runs.outputs", row["id"]) if as_json else []
    if as_json:
        _print_json({**_whole(row["report"] or {}, outputs), "stored_status": row["status"]})
        return
    _print_run(row, calls, votes)


async def _find(database: Database, run: str) -> Row:
    ending = run.replace("-", "").lower()
    if len(ending) < 4 or not all(character in "0123456789abcdef" for character in ending):
        raise InvalidArgumentError(f"{run!r} is no run id; give at least 4 hex characters of one from 'runs list'")
    rows = await database.fetch("runs.by_ending", ending)
    if not rows:
        raise InvalidArgumentError(f"no run ends in {run!r}; see 'omninode runs list'")
    if len(rows) > 1:
        raise InvalidArgumentError(f"{len(rows)} runs end in {run!r}; give more characters")
    return rows[0]


def _print_table(rows: list[Row]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from omninode.core.ids import short

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("run", "started (UTC)", "status", "time", "prompt"):
        table.add_column(heading, justify="right" if heading == "time" else "left", no_wrap=heading != "prompt")
    for row in rows:
        time = f"{row['duration_ms']:,} ms" if row["duration_ms"] is not None else ""
        status = Text(row["status"], style="green" if row["status"] == "done" else "yellow")
        if row["is_simulated"]:
            status.append(" SIMULATED", style="black on yellow")
        prompt = " ".join(row["prompt"].split())
        table.add_row(short(row["id"]), f"{row['started_at']:%Y-%m-%d %H:%M:%S}", status, time, prompt[:80])
    console = Console()
    console.print(table if rows else 'no runs yet; try: omninode run "…" --simulate')


def _print_run(row: Row, calls: list[Row], votes: list[Row]) -> None:
    from rich.console import Console
    from rich.markdown import Markdown
    from rich.table import Table

    console = Console()
    report: dict[str, Any] = row["report"] or {}
    badge = "  SIMULATED" if row["is_simulated"] else ""
    console.print(f"run {row['id']}: {row['status']}{badge}", highlight=False)
    console.print(row["prompt"], markup=False, highlight=False)
    if row["error"]:
        console.print(row["error"], style="red", markup=False)
    if report.get("result"):
        console.print(Markdown(report["result"]))
    for title, names, rows in (
        ("phases", ("name", "attempt", "duration_ms", "ok"), report.get("phases", [])),
        ("tasks", ("id", "agent", "status", "duration_ms"), report.get("tasks", [])),
        ("calls", ("role", "deployment", "ok", "attempts", "duration_ms", "tokens_in", "tokens_out", "cache"), calls),
        ("votes", ("round", "deployment", "decision", "score", "confidence", "counted"), votes),
    ):
        if not rows:
            continue
        table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="dim")
        for name in names:
            table.add_column(name)
        for entry in rows:
            table.add_row(*(_cell(entry[name]) for name in names))
        console.print(table)


# Any: the report is JSON.
def _whole(report: dict[str, Any], outputs: list[Row]) -> dict[str, Any]:
    """The report with the output of each task, which is kept in a row of its own."""
    by_task = {row["task_id"]: row["output"] for row in outputs}
    tasks = [{"output": by_task.get(task["id"], ""), **task} for task in report.get("tasks", [])]
    return {**report, "tasks": tasks} if "tasks" in report else report


def _cell(value: object) -> str:
    return "" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)


# Any: whatever JSON can say.
def _print_json(value: Any) -> None:
    import orjson

    # The driver's UUID is a class of its own, which orjson does not know.
    sys.stdout.buffer.write(orjson.dumps(value, default=str, option=orjson.OPT_INDENT_2) + b"\n")
