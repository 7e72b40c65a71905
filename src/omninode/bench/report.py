"""What a benchmark came to, as values: rows for a table, JSON for a program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from omninode.bench.environment import Environment
from omninode.bench.scenario import Figure, Scenario, Table

__all__ = ["BenchReport", "Row", "ScenarioReport", "rows_of"]

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioReport:
    """How one scenario went: its figures, or the error that stopped it."""

    scenario: Scenario
    figures: Sequence[Figure] = ()
    notes: Sequence[str] = ()
    table: Table | None = None
    duration_s: float = 0.0
    error: str | None = None

    @property
    def is_reached(self) -> bool:
        """Whether it ran and every figure with a target reaches it."""
        return self.error is None and all(figure.is_reached is not False for figure in self.figures)

    # Any: JSON values.
    def as_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        scenario = self.scenario
        return {
            "name": scenario.name,
            "status": "failed" if self.error is not None else "ok",
            "claim": scenario.claim,
            "compared": scenario.compared,
            "limit": scenario.limit,
            "simulated": scenario.simulated or None,
            "figures": [_figure_json(figure) for figure in self.figures],
            "notes": list(self.notes),
            "table": asdict(self.table) if self.table else None,
            "duration_s": round(self.duration_s, 2),
            "error": self.error,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchReport:
    """All scenarios that were asked for, and what they ran on."""

    environment: Environment
    scenarios: Sequence[ScenarioReport]
    duration_s: float

    @property
    def is_complete(self) -> bool:
        """Whether every scenario ran to its end."""
        return all(entry.error is None for entry in self.scenarios)

    @property
    def is_reached(self) -> bool:
        """Whether every scenario ran and every target was reached."""
        return all(entry.is_reached for entry in self.scenarios)

    # Any: JSON values.
    def as_json(self) -> dict[str, Any]:
        """The report as JSON values; spreads are lowest and highest, ratios are of arms in the same round."""
        return {
            "schema": SCHEMA,
            "environment": {**asdict(self.environment), "at": self.environment.at.isoformat()},
            "duration_s": round(self.duration_s, 1),
            "is_complete": self.is_complete,
            "is_reached": self.is_reached,
            "scenarios": [entry.as_json() for entry in self.scenarios],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure as text. `verdict` is empty where nothing was to be reached."""

    figure: str
    value: str
    spread: str
    target: str
    verdict: Literal["yes", "no", ""]


def rows_of(report: ScenarioReport) -> tuple[Row, ...]:
    """The figures of `report` as text."""
    return tuple(_row(figure) for figure in report.figures)


def _row(figure: Figure) -> Row:
    spread, unit = figure.spread, figure.unit
    reached = figure.is_reached
    return Row(
        figure=figure.name,
        value=_text(spread.median, unit),
        spread=_spread_text(figure),
        target=_target_text(figure),
        verdict="" if reached is None else "yes" if reached else "no",
    )


def _spread_text(figure: Figure) -> str:
    spread = figure.spread
    if spread.count < 2:
        return ""
    text = f"{_number(spread.low)} .. {_text(spread.high, figure.unit)}, n={spread.count}"
    if figure.interval is not None:
        low, high = figure.interval
        text += f", 95%: {_number(low)} .. {_number(high)}"
    return text


def _target_text(figure: Figure) -> str:
    if figure.target is None:
        return ""
    always = ", always" if figure.takes_worst else ""
    return f"{figure.target.comparison} {_text(figure.target.bound, figure.unit)}{always}"


def _text(value: float, unit: str) -> str:
    return f"{_number(value)}{unit}" if unit in {"x", "%"} else f"{_number(value)} {unit}".strip()


def _number(value: float) -> str:
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2
    return f"{value:,.{digits}f}"


# Any: JSON values.
def _figure_json(figure: Figure) -> dict[str, Any]:
    target = figure.target
    return {
        "name": figure.name,
        "unit": figure.unit,
        "median": round(figure.spread.median, 5),
        "low": round(figure.spread.low, 5),
        "high": round(figure.spread.high, 5),
        "count": figure.spread.count,
        "interval95": [round(bound, 5) for bound in figure.interval] if figure.interval else None,
        "target": f"{target.comparison} {target.bound:g}" if target else None,
        "held_against": "every value" if figure.takes_worst else "median",
        "reached": figure.is_reached,
    }
