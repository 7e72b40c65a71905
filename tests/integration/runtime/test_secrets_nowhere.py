"""Fifty secrets in every place that text comes from, and none of them in any place that text goes to."""

from __future__ import annotations

import asyncio
import json
import logging
import tomllib
import urllib.request
from importlib.resources import files
from pathlib import Path

import pytest
from tests.integration.runtime.planted import Planted, planted
from typer.testing import CliRunner

import omninode
from omninode.cli.exits import show_error
from omninode.cli.main import app
from omninode.core.errors import OmniNodeError
from omninode.providers.messages import ChatRequest, Message
from omninode.runtime.runtime import Runtime
from omninode.runtime.settings import load_settings
from omninode.server.serve import run as serve
from omninode.server.view import RuntimeView
from omninode.simulation.server import SimulatedModels
from omninode.storage.config import ConnectionConfig
from omninode.storage.database import Database
from omninode.storage.optimizer import PerformanceOptimizer
from omninode.validation.secrets import scan

pytestmark = pytest.mark.integration

SECRETS = planted()
PAGES = ("/", "/runs", "/agents", "/reliability", "/errors", "/trends", "/cost", "/settings", "/metrics", "/health")


def leaked(text: str, secrets: list[Planted] = SECRETS) -> list[str]:
    """Which secrets stand in `text`, as they are, as JSON writes them, or the middle of a long one."""
    found = []
    for secret in secrets:
        value = secret.value if len(secret.value) < 40 else secret.value[30:60]
        if value in text or json.dumps(value)[1:-1] in text:
            place = text.find(value)
            found.append(f"{secret.kind}: …{text[max(0, place - 80) : place]}")
    return found


def joined(secrets: list[Planted]) -> str:
    return "\n".join(f"note {number}: {secret.text} ." for number, secret in enumerate(secrets))


def test_fifty_secrets_of_every_kind_are_planted_and_each_is_known() -> None:
    rules = tomllib.loads((files("omninode.validation") / "secret_rules.toml").read_text())["rule"]
    assert len(SECRETS) == 50
    assert {secret.kind for secret in SECRETS} == {rule["kind"] for rule in rules}
    assert [secret for secret in SECRETS if not scan(secret.text)] == []
    assert leaked(joined(SECRETS)).__len__() == 50


@pytest.fixture
def place(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A process whose settings hold secrets, and a workspace that does."""
    config = ConnectionConfig.from_url(database_url)
    for name, value in {
        "POSTGRES_HOST": config.host,
        "POSTGRES_USER": config.user,
        "POSTGRES_DB": config.database,
        "POSTGRES_PASSWORD": SECRETS[0].value,
        "OMNINODE_DATA_DIR": str(tmp_path / "data"),
        "OMNINODE_LOG_LEVEL": "debug",
        "OMNINODE_STORE_PAYLOADS": "true",
        "OMNINODE_SERVER_KEY": SECRETS[1].value,
        "OMNINODE_AUDIT_KEY": SECRETS[2].value + "0123456789abcdef",
        "OPENAI_API_KEY": SECRETS[3].value.replace("\n", ""),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    # Fifty secrets in a row are no language; what the injection model makes of them is not the question here.
    (tmp_path / "omninode.toml").write_text('[guard.actions]\n"INJECTION.DIRECT" = "flag"\n')
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / "notes.md").write_text(f"# Retries of the parser\n{joined(SECRETS[:25])}\n")
    (workspace / "parser.py").write_text(f"# retries of the parser\nNOTES = '''\n{joined(SECRETS[25:])}\n'''\n")
    return tmp_path


async def everything_stored(database: Database) -> str:
    """All rows of all tables, as text."""
    async with database.acquire() as session:
        tables = await session.driver.fetch(
            "SELECT relname::text AS name FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition "
            "AND relnamespace = 'public'::regnamespace"
        )
        rows = []
        for table in tables:
            found = await session.driver.fetch(f'SELECT t::text AS row FROM "{table["name"]}" AS t')
            rows += [f"{table['name']}: {row['row']}" for row in found]
    return "\n".join(rows)


def everything_on_disk(place: Path) -> str:
    return "\n".join(
        f"{path}: {path.read_bytes().decode('utf-8', 'replace')}" for path in place.rglob("*") if path.is_file()
    )


async def page(url: str) -> str:
    def read() -> str:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.read().decode()

    return await asyncio.to_thread(read)


async def everything_served(node: Runtime, run_id: object) -> str:
    """Every page, the same as JSON, and what the live feed holds."""
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    serving = asyncio.ensure_future(
        serve(RuntimeView(node), port=0, on_ready=ready.set_result, stop=stop, sink=node.sink)
    )
    url = await ready
    texts = []
    for path in (*PAGES, f"/runs/{run_id}"):
        texts.append(f"{path}: {await page(url + path)}")
        if path not in {"/metrics", "/health"}:
            texts.append(f"/api{path}: {await page(url + ('/api/now' if path == '/' else f'/api{path}'))}")
    stop.set()
    await serving
    return "\n".join(texts)


async def test_a_run_with_secrets_everywhere_leaves_none_anywhere(
    place: Path, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    prompt = f"Explain the retries of the parser.\n{joined(SECRETS)}"
    tasks = [
        {"id": "a", "agent": "coder", "description": f"Explain retries: {joined(SECRETS)}", "input": joined(SECRETS)}
    ]
    heard: list[str] = []
    async with omninode.open(load_settings(), simulate=SimulatedModels(latency_scale=0)) as node:
        node.bus.subscribe(lambda event: heard.append(type(event).__name__), name="ears")
        report = await node.run(prompt, workspace=place / "workspace", tasks=tasks)
        assert report.status in {"done", "rejected"}, report.error
        planned = await node.run("Explain the retries of the parser in notes.md", workspace=place / "workspace")
        assert await node.settle() == ()
        served = await everything_served(node, report.run_id)
        served += await everything_served(node, planned.run_id)
    assert leaked(served) == []
    assert leaked(json.dumps(report.as_json(), default=str)) == []
    assert leaked(await everything_stored(database)) == []
    assert leaked(everything_on_disk(place / "data")) == []
    seen = capsys.readouterr()
    assert leaked(seen.out + seen.err) == []
    assert "RunFinished" in heard


@pytest.mark.parametrize("status", [200, 400, 401, 404, 429, 500])
async def test_what_a_provider_says_of_its_error_is_passed_on_without_secrets(
    place: Path, database: Database, upstream, answers, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    body = joined(SECRETS) if status == 200 else json.dumps({"error": {"message": joined(SECRETS), "type": "x"}})
    server = await upstream(answers.respond(status, body.encode(), headers={"retry-after": "0"}))
    entry = {"name": "told", "base_url": server.url, "model": "m", "api_key_env": "OPENAI_API_KEY"}
    async with Runtime(load_settings(deployments=[entry], retry_max_retries=1, retry_base_delay_s=0.0)) as node:
        report = await node.run("Explain retries")
        assert report.status == "failed"
        request = ChatRequest(messages=(Message(role="user", content="hello"),))
        with pytest.raises(OmniNodeError) as failure:
            await node.router.complete(request, role="worker")
        probe = await node.router.probe("told")
        assert await node.settle() == ()
        served = await everything_served(node, report.run_id)
    show_error(failure.value, with_traceback=False)
    show_error(failure.value, with_traceback=True)
    shown = capsys.readouterr()
    assert leaked(shown.err + shown.out) == []
    assert leaked(f"{report.error} {json.dumps(report.as_json(), default=str)} {probe.error}") == []
    assert leaked(served) == []
    assert leaked(await everything_stored(database)) == []
    assert leaked(everything_on_disk(place / "data")) == []


async def test_what_the_database_refuses_is_told_without_secrets(
    place: Path, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    optimizer = PerformanceOptimizer(database)
    async with database.acquire() as session:
        await session.driver.execute("CREATE TABLE taken (id text PRIMARY KEY, n integer NOT NULL CHECK (n > 0))")
    for secret in SECRETS:
        bad: list[dict[str, object]] = [{"id": secret.text, "n": -1}, {"id": secret.text, "n": secret.text}]
        for row in bad:
            with pytest.raises(OmniNodeError) as failure:
                await optimizer.batch_write_with_pooling([row], "INSERT", "taken")
            show_error(failure.value, with_traceback=False)
            show_error(failure.value, with_traceback=True)
        with pytest.raises(OmniNodeError) as failure:
            await optimizer.batch_write_with_pooling([{"id": 1, "n": 1}], "INSERT", f"no {secret.text}"[:60])
        show_error(failure.value, with_traceback=False)
    shown = capsys.readouterr()
    assert leaked(shown.err + shown.out) == []
    assert leaked(await everything_stored(database)) == []


async def test_tracebacks_and_records_of_other_libraries_are_written_without_secrets(place: Path) -> None:
    async with Runtime(load_settings(), simulate=SimulatedModels(latency_scale=0)) as node:
        logs = node.road._logs
        for secret in SECRETS:
            try:
                try:
                    raise ValueError(secret.text)
                except ValueError as cause:
                    raise RuntimeError(f"while handling {secret.text}") from cause
            except RuntimeError as error:
                logging.getLogger("aiohttp").error("failed with %s", secret.text, exc_info=error)
                logs.logger("error").error("told", note=secret.text, exc_info=error)
                logs.audit("did", actor="me", target=secret.text, password=secret.value)
    assert leaked(everything_on_disk(place / "data")) == []


def test_commands_show_settings_runs_and_errors_without_secrets(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runner, said = CliRunner(), []
    # A path loses one of two slashes, and with it what makes a URL.
    as_path = joined([secret for secret in SECRETS if "//" not in secret.text])
    for words in (
        ["doctor"],
        ["runs", "list", "--json"],
        ["runs", "list"],
        ["db", "status"],
        ["db", "activity"],
        ["audit", "show"],
        ["audit", "show", "--json"],
        ["audit", "checkpoint"],
        ["run", joined(SECRETS)[:20_000], "--simulate", "--json"],
        ["run", joined(SECRETS)[:20_000], "--simulate"],
        ["run", "Explain retries", "--tasks", as_path, "--simulate"],
        ["runs", "show", joined(SECRETS)],
    ):
        ended = runner.invoke(app, words)
        said.append(f"{words[0]}: {ended.output}{ended.stderr}")
        if ended.exception is not None and not isinstance(ended.exception, SystemExit):
            show_error(ended.exception, with_traceback=False)
            show_error(ended.exception, with_traceback=True)
    runs = json.loads(runner.invoke(app, ["runs", "list", "--json"]).stdout)
    for run in runs[:5]:
        said.append(runner.invoke(app, ["runs", "show", run["id"]]).output)
        said.append(runner.invoke(app, ["runs", "show", run["id"], "--json"]).output)
    shown = capsys.readouterr()
    assert leaked("\n".join([*said, shown.out, shown.err])) == []
    assert leaked(everything_on_disk(place / "data")) == []
