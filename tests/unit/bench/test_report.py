"""What is shown of figures: targets, the worst case, failures, JSON."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
import pytest

from omninode.bench.environment import Environment
from omninode.bench.measure import Spread
from omninode.bench.report import BenchReport, ScenarioReport, rows_of
from omninode.bench.scenario import Figure, Findings, Scenario, at_least, at_most
from omninode.bench.surroundings import Surroundings

pytestmark = pytest.mark.unit


async def nothing(_: Surroundings) -> Findings:
    return Findings(figures=())


SCENARIO = Scenario(name="s", claim="faster", compared="a against b", limit="c", run=nothing, simulated="latency")
ENVIRONMENT = Environment(
    omninode="1.0", git=None, python="3.11", system="Linux", cores=2, load=0.1, postgres="18", fsync_ms=0.2,
    at=datetime(2026, 1, 2, tzinfo=UTC),
)  # fmt: skip


def figure(*values: float, target=None, takes_worst: bool = False, unit: str = "x") -> Figure:
    return Figure(name="f", spread=Spread.of(values), unit=unit, target=target, takes_worst=takes_worst)


def test_the_median_is_held_against_the_target() -> None:
    assert figure(1.0, 1.1, 9.0, target=at_most(1.15)).is_reached is True
    assert figure(1.0, 1.2, 1.3, target=at_most(1.15)).is_reached is False
    assert figure(20.0, target=at_least(20)).is_reached is True
    assert figure(1.0).is_reached is None


def test_a_promise_about_every_case_is_broken_by_the_worst() -> None:
    assert figure(-30.0, -20.0, 38.0, target=at_most(2), takes_worst=True).is_reached is False
    assert figure(99.0, 100.0, 80.0, target=at_least(95), takes_worst=True).is_reached is False
    assert figure(-30.0, -20.0, 1.0, target=at_most(2), takes_worst=True).is_reached is True


def test_a_row_shows_value_spread_target_and_verdict() -> None:
    report = ScenarioReport(scenario=SCENARIO, figures=(figure(1.0, 1.2, 1.3, target=at_most(1.15)),))
    (row,) = rows_of(report)
    assert (row.value, row.spread, row.target, row.verdict) == ("1.20x", "1.00 .. 1.30x, n=3", "<= 1.15x", "no")


def test_a_single_value_has_no_spread_and_large_ones_no_false_digits() -> None:
    (row,) = rows_of(ScenarioReport(scenario=SCENARIO, figures=(figure(12345.678, unit="ms"),)))
    assert (row.value, row.spread, row.target, row.verdict) == ("12,346 ms", "", "", "")


def test_a_failed_scenario_is_in_the_report_and_not_reached() -> None:
    good = ScenarioReport(scenario=SCENARIO, figures=(figure(1.0, target=at_most(2)),))
    bad = ScenarioReport(scenario=SCENARIO, error="RuntimeError: a source was lost")
    report = BenchReport(environment=ENVIRONMENT, scenarios=(good, bad), duration_s=1.0)
    assert good.is_reached
    assert not report.is_complete
    assert not report.is_reached
    first, second = report.as_json()["scenarios"]
    assert (first["status"], second["status"], second["error"]) == ("ok", "failed", "RuntimeError: a source was lost")


def test_the_json_holds_what_a_reader_needs_to_judge() -> None:
    report = BenchReport(
        environment=ENVIRONMENT,
        scenarios=(ScenarioReport(scenario=SCENARIO, figures=(figure(1.0, 2.0, 3.0, target=at_most(1.5)),)),),
        duration_s=2.0,
    )
    data = orjson.loads(orjson.dumps(report.as_json()))
    assert data["is_complete"] is True
    assert data["is_reached"] is False
    assert data["environment"]["at"] == "2026-01-02T00:00:00+00:00"
    (entry,) = data["scenarios"]
    assert (entry["claim"], entry["compared"], entry["limit"], entry["simulated"]) == (
        "faster", "a against b", "c", "latency",
    )  # fmt: skip
    assert entry["figures"] == [
        {
            "name": "f", "unit": "x", "median": 2.0, "low": 1.0, "high": 3.0, "count": 3, "interval95": None,
            "target": "<= 1.5", "held_against": "median", "reached": False,
        }
    ]  # fmt: skip
