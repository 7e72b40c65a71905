"""`omninode bench`: the measured claims."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from omninode.bench.report import BenchReport, ScenarioReport
    from omninode.bench.scenario import Scenario, Table

__all__ = ["register"]

_FILE_WIDTH = 120
_STYLES = {"yes": "green", "no": "red"}


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(bench)


def bench(
    names: Annotated[
        list[str] | None, typer.Argument(help="Scenarios; when none is named, all but those that --list marks.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    list_only: Annotated[bool, typer.Option("--list", help="Name the scenarios and what they compare.")] = False,
    is_real: Annotated[
        bool, typer.Option("--real", help="In place of a simulation, the same on real HTTP and real time, in minutes.")
    ] = False,
    is_strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 when a figure is not reached.")] = False,
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder of labelled texts (train and dev.jsonl.gz), for validation.")
    ] = None,
) -> None:
    """Measure the claims: both arms real, interleaved, as ratios beside the physical limit."""
    from rich.console import Console

    from omninode.bench.command import real_ones, run_bench
    from omninode.cli.loop import run_async

    chosen = real_ones(names or []) if is_real else names or []
    console = Console()
    # In a file or a pipe there is no width to keep to, and a cut column would hide a figure.
    screen = _RichScreen(console if console.is_terminal else Console(width=_FILE_WIDTH))
    raise typer.Exit(
        run_async(
            run_bench(chosen, as_json=as_json, list_only=list_only, is_strict=is_strict, screen=screen, data=data)
        )
    )


class _RichScreen:
    """A table per scenario, printed as soon as it has ended."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def listed(self, scenarios: Sequence[Scenario]) -> None:
        """See `bench.command.Screen`."""
        from rich.table import Table

        from omninode.bench.command import when_run

        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for heading in ("scenario", "claim", "compared", "limit"):
            table.add_column(heading, no_wrap=heading == "scenario")
        for scenario in scenarios:
            table.add_row(scenario.name + when_run(scenario), scenario.claim, scenario.compared, scenario.limit)
        self._console.print(table)

    def began(self, scenario: Scenario) -> None:
        """See `bench.command.Screen`."""
        if self._console.is_terminal:
            self._console.print(f"measuring {scenario.name} …", end="\r", style="dim")

    def ended(self, report: ScenarioReport) -> None:
        """See `bench.command.Screen`."""
        from rich.text import Text

        scenario = report.scenario
        title = Text.assemble((scenario.name, "bold"), f": {scenario.claim}")
        if scenario.simulated:
            title.append(f"  SIMULATED: {scenario.simulated}", style="yellow")
        self._console.print(title)
        self._console.print(Text(f"  {scenario.compared}; limit: {scenario.limit}", style="dim"))
        self._print_figures(report)
        if report.table is not None:
            self._print_table(report.table)
        for note in report.notes:
            self._console.print(Text(f"  {note}", style="dim"))
        if report.error is not None:
            self._console.print(Text(f"  failed: {report.error}", style="red"))
        self._console.print()

    def _print_figures(self, report: ScenarioReport) -> None:
        from rich.padding import Padding
        from rich.table import Table
        from rich.text import Text

        from omninode.bench.report import rows_of

        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        table.add_column("figure")
        table.add_column("median", justify="right", no_wrap=True)
        table.add_column("lowest .. highest", no_wrap=True)
        table.add_column("to reach", no_wrap=True)
        table.add_column("reached", no_wrap=True)
        for row in rows_of(report):
            verdict = Text(row.verdict, style=_STYLES.get(row.verdict, ""))
            table.add_row(row.figure, row.value, row.spread, row.target, verdict)
        if report.figures:
            self._console.print(Padding(table, (0, 0, 0, 2)))

    def _print_table(self, shown: Table) -> None:
        from rich.padding import Padding
        from rich.table import Table as Grid

        grid = Grid(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for place, heading in enumerate(shown.headings):
            grid.add_column(heading, no_wrap=True, justify="left" if place == 0 else "right")
        for row in shown.rows:
            grid.add_row(*row)
        self._console.print(Padding(grid, (1, 0, 1, 2)))

    def finished(self, report: BenchReport) -> None:
        """See `bench.command.Screen`."""
        where = report.environment
        parts = [
            f"omninode {where.omninode}" + (f" at {where.git}" if where.git else ""),
            f"Python {where.python}",
            f"{where.system}, {where.cores} cores, load {where.load:.1f}",
            f"Postgres {where.postgres}",
            f"fsync {where.fsync_ms:.2f} ms",
            f"{where.at:%Y-%m-%d %H:%M} UTC",
            f"took {report.duration_s:.0f} s",
        ]
        self._console.print("; ".join(parts), highlight=False)
