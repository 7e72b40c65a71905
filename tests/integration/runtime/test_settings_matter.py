"""Settings change what the open system does, and what it kept is there again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from omninode.core.errors import ConfigurationError
from omninode.providers.messages import ChatRequest, Message
from omninode.resilience import CircuitState, execute_with_retry
from omninode.runtime.runtime import Runtime
from omninode.runtime.settings import Settings, load_settings
from omninode.simulation.profile import Faults
from omninode.simulation.server import SimulatedModels
from omninode.storage.config import ConnectionConfig
from omninode.telemetry.redact import redact_text

pytestmark = pytest.mark.integration

FAILING = Faults(error_rate=1.0)


@pytest.fixture
def settings_with(database_url: str, tmp_path: Path):
    config = ConnectionConfig.from_url(database_url)

    def make(**values: object) -> Settings:
        return load_settings(
            postgres_host=config.host,
            postgres_user=config.user,
            postgres_db=config.database,
            data_dir=tmp_path / "data",
            **values,
        )

    return make


def failing_models() -> SimulatedModels:
    models = SimulatedModels(latency_scale=0)
    for profile in models.simulation.profiles:
        models.set_faults(profile, FAILING)
    return models


async def ask(node: Runtime, deployment: str, text: str) -> None:
    request = ChatRequest(messages=(Message(role="user", content=text),))
    with pytest.raises(Exception, match=deployment):
        await node.router.complete(request, role="voter", deployment=deployment)


def calls_of(node: Runtime, model: str) -> int:
    assert node.simulator is not None
    return node.simulator.statistics().calls.get(model, 0)


@pytest.mark.parametrize("retries", [0, 2])
async def test_retry_settings_decide_how_often_a_model_is_asked(settings_with, retries: int) -> None:
    settings = settings_with(retry_max_retries=retries, retry_base_delay_s=0.001)
    async with Runtime(settings, simulate=failing_models()) as node:
        await ask(node, "sim-swift", "hello")
        assert calls_of(node, "sim-swift") == retries + 1


async def test_retry_settings_are_those_of_the_documents_function(settings_with) -> None:
    attempts = 0

    async def flaky() -> None:
        nonlocal attempts
        attempts += 1
        raise ConnectionError("no")

    async with Runtime(settings_with(retry_max_retries=1, retry_base_delay_s=0.0), simulate=True):
        with pytest.raises(ConnectionError):
            await execute_with_retry(None, None, flaky)
    assert attempts == 2


async def test_breaker_settings_decide_when_a_model_gets_a_break_and_the_break_outlives_the_process(
    settings_with,
) -> None:
    settings = settings_with(breaker_failure_threshold=2, breaker_timeout_s=600.0, retry_max_retries=0)
    async with Runtime(settings, simulate=failing_models()) as node:
        for attempt in range(2):
            await ask(node, "sim-swift", f"try {attempt}")
        assert node.breakers.get("sim-swift").state is CircuitState.OPEN
        assert calls_of(node, "sim-swift") == 2
    async with Runtime(settings, simulate=SimulatedModels(latency_scale=0)) as node:
        assert node.breakers.get("sim-swift").state is CircuitState.OPEN
        await ask(node, "sim-swift", "once more")
        assert calls_of(node, "sim-swift") == 0


@pytest.mark.parametrize("is_on", [True, False])
async def test_without_monitoring_a_run_is_recorded_and_not_measured(settings_with, is_on: bool) -> None:
    settings = settings_with(performance_monitoring_enabled=is_on)
    async with Runtime(settings, simulate=SimulatedModels(latency_scale=0)) as node:
        report = await node.run("Explain the parser")
        assert len(report.phases) == 7
        await node.settle()
        row = (await node.database.fetch("runs.by_ending", report.run_id.hex))[0]
        assert row["status"] == "done"
        assert await node.database.fetch("runs.calls", report.run_id)
        measured = await node.monitor.get_performance_metrics(report.run_id)
        assert measured.run_id == report.run_id
        rows = await node.database.fetch("monitoring_runs.measured", report.run_id)
        assert bool(rows) is is_on


async def test_a_role_without_a_deployment_is_said_before_anything_is_asked(settings_with, monkeypatch) -> None:
    entry = {"name": "only", "base_url": "http://127.0.0.1:9/v1", "model": "m", "roles": ["voter", "worker"]}
    with pytest.raises(ConfigurationError, match="no deployment has the role 'planner'"):
        async with Runtime(settings_with(deployments=[entry])):
            pass


async def test_an_agent_pinned_to_nothing_is_said_before_anything_is_asked(settings_with) -> None:
    agent = {"name": "poet", "purpose": "p", "instructions": "i", "deployment": "nowhere"}
    with pytest.raises(ConfigurationError, match=r"'poet' is pinned to deployment 'nowhere'.*sim-swift"):
        async with Runtime(settings_with(agents=[agent]), simulate=True):
            pass


async def test_a_runtime_may_be_left_in_another_task(settings_with) -> None:
    node = Runtime(settings_with(), simulate=SimulatedModels(latency_scale=0))
    await asyncio.create_task(node.__aenter__())
    await node.__aexit__(None, None, None)


def test_an_address_is_shown_without_its_password() -> None:
    settings = load_settings(openai_base_url="http://user:s3cret@h/v1")
    assert "s3cret" not in str([line.value for line in settings.lines()])


@pytest.mark.parametrize("is_asked_for", [True, False])
async def test_bodies_of_calls_are_stored_only_when_asked_for_and_without_secrets(
    settings_with, tmp_path: Path, is_asked_for: bool
) -> None:
    secret = "sk-ant-api03-" + "A1b2C3d4E5f6G7h8" * 4
    settings = settings_with(store_payloads=is_asked_for, log_level="debug", cache_ttl_s=0)
    async with Runtime(settings, simulate=SimulatedModels(latency_scale=0), require_database=True) as node:
        request = ChatRequest(messages=(Message(role="user", content=f"my key is {secret}, mark {is_asked_for}"),))
        done = await node.router.complete(request, role="worker")
        assert await node.settle() == ()
        async with node.database.acquire() as session:
            rows = await session.driver.fetch(
                "SELECT request, response, model FROM llm_payloads JOIN llm_calls USING (id) WHERE request::text LIKE $1",
                f"%mark {is_asked_for}%",
            )
    told = [(row["response"], row["model"]) for row in rows]
    assert told == ([(redact_text(done.text), done.model)] if is_asked_for else [])
    assert secret in done.text
    assert all(secret not in f"{row['request']}{row['response']}" for row in rows)
    logs = "".join(path.read_text() for path in (tmp_path / "data").rglob("*.jsonl"))
    assert "CallFinished" in logs
    assert f"mark {is_asked_for}" not in logs


async def test_spool_settings_bound_what_waits_and_say_what_goes(settings_with) -> None:
    settings = settings_with(
        spool={"disk_mib": 1, "memory_rows": 10, "tables": {"votes": {"when_full": "drop_oldest"}}}
    )
    async with Runtime(settings, simulate=SimulatedModels(latency_scale=0)) as node:
        # Nothing is awaited, so nothing is written to the database meanwhile.
        taken = [node.road.spool.put("votes", {"id": number, "note": "x" * 1000}) for number in range(2000)]
        statistics = node.road.spool.statistics()
    assert all(taken)
    assert statistics.disk_bytes <= 1024**2
    assert 2000 - 1024 < statistics.dropped["votes"] < 1500
    assert statistics.memory_rows <= 3 * 10  # of as many kinds: the ledger, telemetry and votes
