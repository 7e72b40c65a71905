"""What is put into the audit log, by an open runtime, by the server and by commands; and what never is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from omninode.cli.main import app
from omninode.core.events import Audited
from omninode.resilience import Outcome
from omninode.runtime.audit import audit_row, record
from omninode.runtime.runtime import Runtime
from omninode.runtime.settings import load_settings
from omninode.simulation.server import SimulatedModels
from omninode.storage.audit import verify
from omninode.storage.config import ConnectionConfig
from omninode.storage.database import Database

pytestmark = pytest.mark.integration

SECRET = "sk-ant-api03-" + "A1b2C3d4E5f6G7h8" * 4


@pytest.fixture
def environment(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The database of this module, as the settings of this process name it."""
    config = ConnectionConfig.from_url(database_url)
    monkeypatch.setenv("POSTGRES_HOST", config.host)
    monkeypatch.setenv("POSTGRES_USER", config.user)
    monkeypatch.setenv("POSTGRES_DB", config.database)
    monkeypatch.setenv("OMNINODE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("ANTHROPIC_API_KEY", SECRET)
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def entries(database: Database) -> list[dict[str, Any]]:
    rows = await database.fetch("audit.latest", 1000)
    return [orjson.loads(row["entry"]) for row in reversed(rows)]


async def test_a_runtime_puts_down_its_configuration_breakers_by_hand_and_refused_prompts(
    environment: Path, database: Database
) -> None:
    async with Runtime(load_settings(), simulate=SimulatedModels(latency_scale=0)) as node:
        node.breakers.get("sim-swift").isolate("maintenance")
        node.breakers.get("sim-swift").close()
        report = await node.run("")
        assert report.status == "refused"
        assert await node.settle() == ()
        assert node.audit.refused == 0
    told = await entries(database)
    assert [entry["action"] for entry in told] == [
        "configuration.used",
        "breaker.open",
        "breaker.closed",
        "input.refused",
    ]
    configuration, opened, _, refused = told
    key = {"variable": "ANTHROPIC_API_KEY", "value": "(set)", "origin": "environment ANTHROPIC_API_KEY"}
    assert key in configuration["detail"]["settings"]
    assert (opened["target"], opened["detail"]["reason"]) == ("sim-swift", "maintenance")
    assert refused["detail"] == {"codes": ["PROMPT.EMPTY"]}
    assert refused["run_id"] == str(report.run_id)
    assert SECRET not in str(told)
    assert (await verify(database)).fault is None
    stream = (environment / "data" / "logs" / "audit.jsonl").read_text()
    assert '"action":"input.refused"' in stream
    assert SECRET not in stream


async def test_a_breaker_that_opens_by_itself_is_no_audited_act(environment: Path, database: Database) -> None:
    before = len(await entries(database))
    async with Runtime(load_settings(), simulate=SimulatedModels(latency_scale=0)) as node:
        breaker = node.breakers.get("sim-sturdy")
        for _ in range(50):
            breaker.admit().release(Outcome.TRANSIENT)
            if breaker.state.value == "open":
                break
        assert breaker.state.value == "open"
        assert await node.settle() == ()
    assert [entry["action"] for entry in (await entries(database))[before:]] == ["configuration.used"]


async def test_what_a_command_did_is_chained_by_whoever_opens_the_database_next(
    environment: Path, database: Database
) -> None:
    await record("index.built", target=f"x {SECRET}", detail=[("key", SECRET), ("n", 3)])
    async with Runtime(load_settings(), simulate=SimulatedModels(latency_scale=0)) as node:
        assert await node.settle() == ()
    built = [entry for entry in await entries(database) if entry["action"] == "index.built"]
    assert [entry["detail"]["n"] for entry in built] == [3]
    assert SECRET not in str(built)


def test_characters_that_no_database_holds_do_not_keep_an_act_from_the_log() -> None:
    row = audit_row(Audited(action="a", target="nul \0, lone \ud800", detail={"\ud800": ["\0"]}))
    assert orjson.loads(row["entry"])["target"] == "nul \ufffd, lone ?"


def test_the_commands_show_checkpoint_and_verify(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = CliRunner()
    monkeypatch.setenv("OMNINODE_AUDIT_KEY", "the key of the auditor")
    file = environment / "checkpoints"
    file.write_text(runner.invoke(app, ["audit", "checkpoint"]).stdout)
    assert '"hmac-sha256:' in file.read_text()
    shown = runner.invoke(app, ["audit", "show", "--json"])
    assert orjson.loads(shown.stdout.splitlines()[0])["action"] == "configuration.used"
    good = runner.invoke(app, ["audit", "verify", "--checkpoint", str(file)])
    assert (good.exit_code, "1 checkpoints agree" in good.stdout) == (0, True)
    file.write_text(file.read_text().replace('"seq":', '"seq":9'))
    assert runner.invoke(app, ["audit", "verify", "--checkpoint", str(file)]).exit_code != 0
