"""Choosing scenarios, going on after a failure, exit codes."""

from __future__ import annotations

import orjson
import pytest
from typer.testing import CliRunner

from omninode.bench import command
from omninode.bench.measure import Spread
from omninode.bench.scenario import Figure, Findings, Scenario, Table, at_most
from omninode.bench.scenarios import ALL
from omninode.bench.surroundings import Surroundings
from omninode.cli.main import app
from omninode.core.errors import InvalidArgumentError

pytestmark = pytest.mark.unit


def test_every_scenario_states_its_claim_its_arms_and_its_limit() -> None:
    assert [entry.name for entry in ALL] == [
        "gathering", "quorum", "batch", "breaker", "retry", "context", "analytics", "pipeline", "start",
        "resilience", "resilience-real", "overhead", "database", "spool", "crash", "panels", "validation",
    ]  # fmt: skip
    assert all(entry.claim and entry.compared and entry.limit for entry in ALL)


def test_names_choose_and_an_unknown_one_is_refused_with_those_there_are() -> None:
    assert [entry.name for entry in command.chosen(["retry", "batch"])] == ["batch", "retry"]
    assert [entry.name for entry in command.chosen(["resilience"])] == ["resilience"]
    assert command.chosen([]) == tuple(entry for entry in ALL if not entry.on_request)
    with pytest.raises(InvalidArgumentError, match=r"'speed'; there are analytics, batch"):
        command.chosen(["speed"])


def test_real_stands_for_the_simulation_that_was_named() -> None:
    assert command.real_ones(["resilience", "retry"]) == ["resilience-real", "retry"]
    assert command.real_ones([]) == ["resilience-real"]
    shown = CliRunner().invoke(app, ["bench", "resilience", "--real", "--list"], catch_exceptions=False).output
    assert shown.split("\n")[1].startswith("resilience-real")


async def test_listing_measures_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert await command.run_bench(["gathering"], list_only=True) == 0
    assert capsys.readouterr().out.startswith("gathering  parallel RAG queries are 3-5x faster")


async def test_a_scenario_that_fails_does_not_stop_the_others() -> None:
    async def broken(_: Surroundings) -> Findings:
        raise RuntimeError("a source\nwas lost")

    async def fine(_: Surroundings) -> Findings:
        return Findings(figures=(Figure(name="f", spread=Spread.of([3.0]), target=at_most(2)),), notes=("n",))

    scenarios = [
        Scenario(name=name, claim="c", compared="a", limit="l", run=run)
        for name, run in (("broken", broken), ("fine", fine))
    ]
    report = await command.measure_all(scenarios, effort=0.1)
    first, second = report.scenarios
    assert first.error == "RuntimeError: a source was lost"
    assert (second.error, second.notes, second.is_reached) == (None, ("n",), False)
    assert report.environment.cores >= 1


def test_the_command_lists_every_scenario_and_marks_those_on_request() -> None:
    result = CliRunner().invoke(app, ["bench", "--list"], catch_exceptions=False)
    assert result.exit_code == 0
    assert all(entry.name in result.output for entry in ALL)
    assert result.output.count("(on request)") == sum(entry.on_request for entry in ALL) > 0


@pytest.mark.parametrize(("options", "code"), [([], 0), (["--strict"], 1)])
def test_a_figure_not_reached_is_shown_and_fails_only_a_strict_run(
    options: list[str], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(_: Surroundings) -> Findings:
        return Findings(figures=(Figure(name="f", spread=Spread.of([3.0, 4.0, 5.0]), target=at_most(2)),))

    scenario = Scenario(name="slow", claim="c", compared="a", limit="l", run=slow)
    monkeypatch.setattr(command, "ALL", (scenario,))
    result = CliRunner().invoke(app, ["bench", *options], catch_exceptions=False)
    assert result.exit_code == code
    shown = " ".join(result.output.split())
    assert "f 4.00x 3.00 .. 5.00x, n=3 <= 2.00x no" in shown


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_table_is_shown_below_the_figures(options: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    async def tabled(_: Surroundings) -> Findings:
        return Findings(figures=(), table=Table(headings=("trouble", "failed %"), rows=[("hang", "75.02")]))

    monkeypatch.setattr(command, "ALL", (Scenario(name="s", claim="c", compared="a", limit="l", run=tabled),))
    shown = CliRunner().invoke(app, ["bench", *options], catch_exceptions=False).output
    if options:
        assert orjson.loads(shown)["scenarios"][0]["table"]["rows"] == [["hang", "75.02"]]
    else:
        assert "trouble failed % hang 75.02" in " ".join(shown.split())


def test_json_is_json_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(_: Surroundings) -> Findings:
        raise RuntimeError("lost")

    monkeypatch.setattr(command, "ALL", (Scenario(name="s", claim="c", compared="a", limit="l", run=broken),))
    result = CliRunner().invoke(app, ["bench", "--json"], catch_exceptions=False)
    assert result.exit_code == 1
    assert orjson.loads(result.output)["scenarios"][0]["error"] == "RuntimeError: lost"
