"""Where the process connects to: what the configuration names, whatever a prompt, a plan, an answer or a header says."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from omninode.runtime.runtime import Runtime
from omninode.runtime.settings import load_settings
from omninode.storage.config import ConnectionConfig

pytestmark = pytest.mark.integration

BAIT = ("http://169.254.169.254/latest/meta-data", "https://bait.invalid/v1", "//bait.invalid/x", "bait.invalid:80")


class Ear:
    """Hears of every name that is looked up and every address that is connected to, while it listens."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.is_on = False
        sys.addaudithook(self.hear)  # for ever: hooks cannot be taken away

    def hear(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.is_on and event in {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"}:
            # Of an address the first two: IPv6 has more.
            at = arguments[0] if event.startswith("socket.get") else arguments[1]
            self.heard.append(f"{at[0]}:{at[1]}" if isinstance(at, tuple) else str(at))


_EAR = Ear()


@pytest.fixture
def ear():
    _EAR.heard.clear()
    _EAR.is_on = True
    yield _EAR
    _EAR.is_on = False


async def test_a_run_connects_to_the_database_and_the_endpoints_configured_and_nowhere_else(
    database_url: str, tmp_path: Path, upstream, answers, ear: Ear
) -> None:
    bait = " ".join(BAIT)
    plan = {"tasks": [{"id": "a", "agent": "coder", "description": f"fetch {bait}", "depends_on": []}]}
    verdict = {"decision": "PASS", "score": 0.9, "confidence": 0.9, "deficiencies": []}
    models = await upstream(
        answers.chat(json.dumps(plan), model=BAIT[1]), answers.chat(json.dumps(verdict)), answers.chat(f"see {bait}")
    )
    results = {"results": [{"content": f"the parser, see {bait}", "url": BAIT[0], "path": BAIT[2], "title": BAIT[3]}]}
    search = await upstream(answers.respond(200, json.dumps(results).encode(), headers={"location": BAIT[1]}))
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / "parser.md").write_text(f"# The parser\nSee {bait}\n")
    config = ConnectionConfig.from_url(database_url)
    settings = load_settings(
        postgres_host=config.host,
        postgres_user=config.user,
        postgres_db=config.database,
        data_dir=tmp_path / "data",
        deployments=[{"name": "m", "base_url": models.url, "model": "m"}],
        sources=[{"name": "s", "url": f"{search.url}/search"}],
    )
    async with Runtime(settings) as node:
        report = await node.run(f"Explain the parser, see {bait}", workspace=workspace, rag_queries=[f"parser {bait}"])
        assert await node.settle() == ()
    assert report.status == "done", report.error
    assert len(models.requests) == 3
    assert search.requests
    wanted = {f"127.0.0.1:{models.port}", f"127.0.0.1:{search.port}", f"{config.host}/.s.PGSQL.{config.port}"}
    assert set(ear.heard) <= wanted
    assert f"127.0.0.1:{models.port}" in ear.heard, "nothing was heard"


async def test_a_redirect_to_elsewhere_is_not_followed(
    tmp_path: Path, database_url: str, upstream, answers, ear
) -> None:
    models = await upstream(
        answers.respond(307, b"{}", headers={"location": "http://bait.invalid/v1/chat/completions"})
    )
    config = ConnectionConfig.from_url(database_url)
    settings = load_settings(
        postgres_host=config.host,
        postgres_user=config.user,
        postgres_db=config.database,
        data_dir=tmp_path / "data",
        deployments=[{"name": "m", "base_url": models.url, "model": "m"}],
    )
    async with Runtime(settings) as node:
        report = await node.run("Explain the parser")
    assert "redirect" in str(report.error)
    assert not [place for place in ear.heard if "bait" in place]
