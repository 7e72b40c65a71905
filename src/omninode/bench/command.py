"""Running scenarios one after another; one that fails is reported and does not stop the others."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import orjson

from omninode.bench.environment import Environment, describe
from omninode.bench.report import BenchReport, ScenarioReport, rows_of
from omninode.bench.scenario import Scenario
from omninode.bench.scenarios import ALL
from omninode.bench.surroundings import Surroundings
from omninode.core.errors import InvalidArgumentError

__all__ = ["PlainScreen", "Screen", "chosen", "measure_all", "real_ones", "run_bench", "when_run"]


class Screen(Protocol):
    """Where a benchmark shows itself to a person."""

    def listed(self, scenarios: Sequence[Scenario]) -> None:
        """Show what there is."""
        ...

    def began(self, scenario: Scenario) -> None:
        """Show that `scenario` is being measured."""
        ...

    def ended(self, report: ScenarioReport) -> None:
        """Show how it went."""
        ...

    def finished(self, report: BenchReport) -> None:
        """Show what it ran on and how long it took."""
        ...


async def run_bench(
    names: Sequence[str],
    *,
    as_json: bool = False,
    list_only: bool = False,
    is_strict: bool = False,
    screen: Screen | None = None,
    effort: float = 1.0,
    data: Path | None = None,
) -> int:
    """Measure the scenarios called `names` (see `chosen`), show them, and return the exit code.

    0 when all of them ran, whatever they came to: a figure that is not reached is shown, not hidden. 1 when one
    failed or, with `is_strict`, when a figure was not reached. Raises InvalidArgumentError for an unknown name.
    """
    scenarios = chosen(names)
    shown = screen or PlainScreen()
    if list_only:
        shown.listed(scenarios if names else ALL)
        return 0
    report = await measure_all(scenarios, effort=effort, screen=None if as_json else shown, data=data)
    if as_json:
        sys.stdout.write(orjson.dumps(report.as_json(), option=orjson.OPT_INDENT_2).decode() + "\n")
    return 0 if report.is_complete and (report.is_reached or not is_strict) else 1


def chosen(names: Sequence[str]) -> tuple[Scenario, ...]:
    """The scenarios called `names`, in the order of the list of all; without names all but those on request."""
    known = {scenario.name for scenario in ALL}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InvalidArgumentError(f"no scenario is called {unknown[0]!r}; there are {', '.join(sorted(known))}")
    return tuple(scenario for scenario in ALL if scenario.name in names or not (names or scenario.on_request))


def real_ones(names: Sequence[str]) -> list[str]:
    """`names`, each of a simulation that is also there with real waits in place of it; those alone without names."""
    known = {scenario.name for scenario in ALL}
    asked = names or [scenario.name for scenario in ALL if f"{scenario.name}-real" in known]
    return [f"{name}-real" if f"{name}-real" in known else name for name in asked]


async def measure_all(
    scenarios: Sequence[Scenario], *, effort: float = 1.0, screen: Screen | None = None, data: Path | None = None
) -> BenchReport:
    """The report on `scenarios`, measured one after another."""
    began = time.monotonic()
    reports = []
    async with Surroundings(effort=effort, data=data) as room:
        environment: Environment = await describe(room)
        for scenario in scenarios:
            if screen is not None:
                screen.began(scenario)
            reports.append(await _measured(scenario, room))
            if screen is not None:
                screen.ended(reports[-1])
    report = BenchReport(environment=environment, scenarios=tuple(reports), duration_s=time.monotonic() - began)
    if screen is not None:
        screen.finished(report)
    return report


async def _measured(scenario: Scenario, room: Surroundings) -> ScenarioReport:
    began = time.monotonic()
    try:
        findings = await scenario.run(room)
    except Exception as error:  # noqa: BLE001 - border: one scenario must not stop the others
        problem = f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
        return ScenarioReport(scenario=scenario, duration_s=time.monotonic() - began, error=problem)
    return ScenarioReport(
        scenario=scenario,
        figures=tuple(findings.figures),
        notes=tuple(findings.notes),
        table=findings.table,
        duration_s=time.monotonic() - began,
    )


class PlainScreen:
    """Lines of text on standard output."""

    def listed(self, scenarios: Sequence[Scenario]) -> None:
        """See `Screen.listed`."""
        for scenario in scenarios:
            _say(
                f"{scenario.name:<10} {scenario.claim}: {scenario.compared}; limit: {scenario.limit}{when_run(scenario)}"
            )

    def began(self, scenario: Scenario) -> None:
        """See `Screen.began`."""

    def ended(self, report: ScenarioReport) -> None:
        """See `Screen.ended`."""
        _say(f"{report.scenario.name}: {report.scenario.claim}")
        for row in rows_of(report):
            target = f", to reach {row.target}: {row.verdict}" if row.target else ""
            _say(f"  {row.figure}: {row.value} ({row.spread or 'one value'}){target}")
        if report.table is not None:
            for cells in (report.table.headings, *report.table.rows):
                _say("  " + "  ".join(cells))
        if report.error is not None:
            _say(f"  failed: {report.error}")

    def finished(self, report: BenchReport) -> None:
        """See `Screen.finished`."""
        where = report.environment
        _say(f"Python {where.python}, {where.cores} cores, fsync {where.fsync_ms:.2f} ms; {report.duration_s:.0f} s")


def when_run(scenario: Scenario) -> str:
    """What to add to the name of a scenario that does not run by itself."""
    return " (on request)" if scenario.on_request else ""


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
