"""The main job over real HTTP: phases in order, replanning, voting down, failures, deadline, cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from omninode.analytics.errors import ErrorAnalytics
from omninode.core.errors import ConfigurationError, InputRefusedError, QuorumFailedError
from omninode.core.events import (
    AgentOutcome,
    CallFinished,
    ErrorOccurred,
    PhaseFinished,
    RunFinished,
    RunStarted,
    TaskFinished,
    VoteCast,
)
from omninode.runtime.declarations import AgentEntry
from omninode.runtime.runtime import Runtime
from omninode.runtime.settings import Settings, load_settings
from omninode.simulation.profile import DEFAULT_PROFILES, Faults, Latency, ModelProfile
from omninode.simulation.server import SimulatedModels
from omninode.storage.config import ConnectionConfig
from omninode.testing.sink import RecordingSink

pytestmark = pytest.mark.integration

PHASES = [
    "input_validation",
    "context_gathering",
    "task_decomposition",
    "quorum_validation",
    "parallel_execution",
    "result_aggregation",
    "reporting",
]
PROMPT = "Explain the parser in parser.py and write tests for its edge cases"


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    config = ConnectionConfig.from_url(database_url)
    return load_settings(
        postgres_host=config.host, postgres_user=config.user, postgres_db=config.database, data_dir=tmp_path / "data"
    )


@pytest.fixture
async def node(settings: Settings) -> AsyncIterator[Runtime]:
    async with Runtime(settings, simulate=SimulatedModels(latency_scale=0.1)) as opened:
        yield opened


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    place = tmp_path / "workspace"
    place.mkdir()
    (place / "parser.py").write_text("def parse(text):\n    return text.split(',')\n")
    (place / "README.md").write_text("# A parser of comma separated lines\n")
    return place


@pytest.fixture
def sink(node: Runtime) -> AsyncIterator[RecordingSink]:
    recording = RecordingSink()
    with node.sink.attached(recording):
        yield recording


def calls_made(node: Runtime) -> int:
    assert node.simulator is not None
    return sum(node.simulator.statistics().calls.values())


async def until_only(tasks: set[asyncio.Task[object]]) -> None:
    """Return when no other task is alive: the simulator's side of a cancelled call takes some turns to notice."""
    async with asyncio.timeout(10):
        while asyncio.all_tasks() - tasks:
            await asyncio.sleep(0.01)


async def test_a_prompt_goes_through_all_phases_and_is_stored(
    node: Runtime, workspace: Path, sink: RecordingSink
) -> None:
    report = await node.run(PROMPT, workspace=workspace)
    assert (report.status, report.error) == ("done", None)
    assert [line.name for line in report.phases] == PHASES
    assert {result.status for result in report.tasks} == {"ok"}
    assert "parser.py" in report.result
    assert "SIMULATED" in report.result
    assert await node.settle() == ()
    stored = await node.database.fetch("runs.by_ending", report.run_id.hex[-12:])
    assert stored[0]["status"] == "done"
    told = report.as_json()
    outputs = {task["id"]: task.pop("output") for task in told["tasks"]}
    assert stored[0]["report"] == told
    rows = await node.database.fetch("runs.outputs", report.run_id)
    assert {row["task_id"]: row["output"] for row in rows} == outputs
    calls = await node.database.fetch("runs.calls", report.run_id)
    assert {call["role"] for call in calls} == {"planner", "voter", "worker"}
    votes = await node.database.fetch("runs.votes", report.run_id)
    assert len(votes) == len(sink.of(VoteCast))


async def test_outputs_are_not_written_into_the_workspace(node: Runtime, workspace: Path) -> None:
    before, calls = sorted(workspace.iterdir()), calls_made(node)
    for place in (workspace, workspace / "out"):
        with pytest.raises(ConfigurationError, match="never changed"):
            await node.run(PROMPT, workspace=workspace, output=place)
    assert sorted(workspace.iterdir()) == before
    assert calls_made(node) == calls


async def test_a_run_whose_output_cannot_be_written_keeps_its_result(
    node: Runtime, workspace: Path, tmp_path: Path, sink: RecordingSink
) -> None:
    place = tmp_path / "out"
    (place / "result.md" / "in the way").mkdir(parents=True)
    report = await node.run(PROMPT, workspace=workspace, output=place)
    assert (report.status, report.failure) == ("done", None)
    assert "parser.py" in report.result
    assert report.unwritten is not None
    assert f"output not written: {report.unwritten}" in report.degraded
    assert str(place) in report.unwritten
    assert sink.of(RunFinished)[0].status == "done"
    assert [event.where for event in sink.of(ErrorOccurred)] == ["workflow.output"]
    assert not list(place.glob(".*"))


async def test_ready_tasks_skip_decomposition(node: Runtime, workspace: Path) -> None:
    tasks = [
        {"id": "explain", "agent": "researcher", "description": "Explain the parser in parser.py"},
        {"id": "tests", "agent": "tester", "description": "Write tests for the parser's edge cases"},
    ]
    report = await node.run(PROMPT, workspace=workspace, tasks=tasks)
    assert report.status == "done"
    assert "task_decomposition" not in [line.name for line in report.phases]
    assert [result.task.id for result in report.tasks] == ["explain", "tests"]


async def test_a_plan_for_something_else_is_voted_down(node: Runtime, sink: RecordingSink) -> None:
    tasks = [{"id": "cake", "agent": "researcher", "description": "Bake a chocolate cake for the neighbours"}]
    report = await node.run(PROMPT, tasks=tasks)
    assert report.status == "rejected"
    assert isinstance(report.failure, QuorumFailedError)
    assert report.failure.deficiencies
    assert report.failure.message.endswith("make request and tasks fit each other")
    assert not sink.of(TaskFinished)


async def test_refused_input_reaches_no_model(node: Runtime, sink: RecordingSink) -> None:
    before = calls_made(node)
    report = await node.run("   ")
    assert (report.status, type(report.failure)) == ("refused", InputRefusedError)
    assert calls_made(node) == before
    assert [event.phase for event in sink.of(PhaseFinished)] == ["input_validation"]
    assert sink.of(RunFinished)[0].status == "refused"


async def test_the_same_prompt_again_is_answered_from_the_cache(node: Runtime, workspace: Path) -> None:
    await node.run(PROMPT, workspace=workspace)
    before = calls_made(node)
    again = await node.run(PROMPT, workspace=workspace)
    assert again.calls["cache_hits"] > 0
    assert calls_made(node) < before * 2


async def test_a_rejected_plan_is_judged_afresh_the_next_time(node: Runtime, sink: RecordingSink) -> None:
    tasks = [{"id": "cake", "agent": "researcher", "description": "Bake a chocolate cake for the neighbours"}]
    for _ in range(2):
        assert (await node.run(PROMPT, tasks=tasks)).status == "rejected"
    assert {call.cache for call in sink.of(CallFinished) if call.ok} == {"miss"}


async def test_at_the_deadline_the_run_ends_and_says_so(node: Runtime, workspace: Path) -> None:
    report = await node.run(PROMPT, workspace=workspace, deadline_s=0.05)
    assert report.status == "failed"
    assert "allow" in (report.error or "")


async def _rows(node: Runtime, text: str, *args: object) -> list[dict[str, object]]:
    async with node.database.acquire() as session:
        return [dict(row) for row in await session.driver.fetch(text, *args)]


@pytest.fixture
async def fragile(settings: Settings) -> AsyncIterator[Runtime]:
    """A system whose agent `fragile` always gets an error 500 from its deployment `down`; `steady` is never sent there."""
    agent = AgentEntry(name="fragile", purpose="fails", instructions="x", deployment="down")
    steady = AgentEntry(name="steady", purpose="works", instructions="x", deployment="sim-keen")
    down = ModelProfile(name="down", roles=("worker",), faults=Faults(error_rate=1.0), latency=Latency(median_s=0))
    models = SimulatedModels([*DEFAULT_PROFILES, down], latency_scale=0.1)
    changed = settings.model_copy(
        update={"agents": (agent, steady), "retry_max_retries": 1, "retry_base_delay_s": 0.01}
    )
    async with Runtime(changed, simulate=models) as opened:
        yield opened


async def test_every_task_teaches_what_its_context_was_worth(fragile: Runtime, workspace: Path) -> None:
    node = fragile
    tasks = [
        {"id": "explain", "agent": "researcher", "description": "Explain parser.py", "task_type": "analysis"},
        {"id": "tests", "agent": "tester", "description": "Write tests for the parser", "task_type": "testing"},
        {"id": "lost", "agent": "coder", "description": "Write a fixture for the tests", "depends_on": ["bad"]},
        {"id": "bad", "agent": "fragile", "description": "Find the edge cases", "task_type": "search"},
    ]
    report = await node.run(PROMPT, workspace=workspace, tasks=tasks)
    assert [result.status for result in report.tasks] == ["ok", "ok", "skipped", "failed"]
    assert await node.settle() == ()
    learned = await _rows(
        node,
        "SELECT DISTINCT task_type, agent_id, reward_kind FROM context_learning WHERE run_id = $1"
        " AND reward IS NOT NULL ORDER BY 1",
        report.run_id,
    )
    assert [tuple(row.values()) for row in learned] == [
        ("analysis", "researcher", "cited"),
        ("search", "fragile", "outcome"),
        ("testing", "tester", "cited"),
    ]
    failed = await _rows(
        node, "SELECT DISTINCT reward FROM context_learning WHERE run_id = $1 AND task_type = 'search'", report.run_id
    )
    assert [row["reward"] for row in failed] == [0.0]
    predicted = await _rows(node, "SELECT DISTINCT task_type FROM context_predictions ORDER BY 1")
    assert {"analysis", "search", "testing"} <= {row["task_type"] for row in predicted}


async def test_a_failed_task_is_an_error_with_deployment_agent_and_task(fragile: Runtime, workspace: Path) -> None:
    tasks = [
        {"id": "explain", "agent": "steady", "description": "Explain the parser in parser.py"},
        {"id": "bad", "agent": "fragile", "description": "Write tests for the edge cases of the parser"},
    ]
    report = await fragile.run(PROMPT, workspace=workspace, tasks=tasks)
    assert report.status == "failed_tasks"
    assert await fragile.settle() == ()
    found = await _rows(
        fragile,
        "SELECT attempt, error_class, phase, context->>'deployment' AS deployment, context->>'agent_id' AS agent_id,"
        " context->>'task_id' AS task_id, fingerprint FROM error_events WHERE run_id = $1 ORDER BY attempt",
        report.run_id,
    )
    # One per attempt: the call and the task that failed by them have no cause of their own.
    assert [row.pop("attempt") for row in found] == [1, 2]
    known = found[0]
    assert tuple(known.values())[:5] == (
        "ProviderUnavailableError",
        "parallel_execution",
        "down",
        "fragile",
        "bad",
    )
    analytics = ErrorAnalytics(fragile.database)
    group = next(one for one in await analytics.groups() if one.fingerprint == known["fingerprint"])
    assert group.place == "routing.deployment"
    shares = await fragile.database.fetch(
        "analytics_errors.shares", report.started_at, datetime.now(UTC), known["fingerprint"]
    )
    told = {(row["attribute"], row["value"]) for row in shares}
    assert {("deployment", "down"), ("agent_id", "fragile")} <= told


async def test_tasks_cut_off_by_the_deadline_are_failures_everywhere(settings: Settings, workspace: Path) -> None:
    quick = [
        replace(profile, roles=("planner", "voter"), latency=Latency(median_s=0)) for profile in DEFAULT_PROFILES[:3]
    ]
    slow = ModelProfile(name="slow", roles=("worker",), latency=Latency(median_s=60, sigma=0))
    tasks = [
        {"id": "explain", "agent": "researcher", "description": "Explain the parser in parser.py"},
        {"id": "tests", "agent": "tester", "description": "Write tests for the parser's edge cases"},
    ]
    sink = RecordingSink()
    async with Runtime(settings, simulate=SimulatedModels([*quick, slow])) as node:
        with node.sink.attached(sink):
            report = await node.run(PROMPT, workspace=workspace, tasks=tasks, deadline_s=1.5)
        assert await node.settle() == ()
        stored = await node.database.fetch("server_runs.tasks", report.run_id)
    assert report.status == "failed_tasks"
    assert [result.status for result in report.tasks] == ["failed", "failed"]
    assert {row["status"] for row in stored} == {"failed"}
    assert all("deadline" in row["error"] or "allow" in row["error"] for row in stored)
    assert [event.status for event in sink.of(TaskFinished)] == ["failed", "failed"]
    outcomes = sink.of(AgentOutcome)
    assert sorted((one.agent_id, one.success, one.error_class) for one in outcomes) == [
        ("researcher", False, "DeadlineExceededError"),
        ("tester", False, "DeadlineExceededError"),
    ]
    [phase] = [event for event in sink.of(PhaseFinished) if event.phase == "parallel_execution"]
    assert (phase.ok, phase.error_class) == (False, "DeadlineExceededError")
    calls = [event for event in sink.of(CallFinished) if event.role == "worker"]
    assert {call.error_class for call in calls} == {"DeadlineExceededError"}
    assert report.calls["failed_calls"] == 2


async def test_a_phase_ended_by_the_deadline_says_so(settings: Settings, workspace: Path) -> None:
    sink = RecordingSink()
    async with Runtime(settings, simulate=SimulatedModels(latency_scale=1000)) as node:
        with node.sink.attached(sink):
            report = await node.run(PROMPT, workspace=workspace, deadline_s=1.0)
    last = sink.of(PhaseFinished)[-1]
    assert (last.phase, last.ok, last.error_class) == ("task_decomposition", False, "DeadlineExceededError")
    assert report.calls["failed_calls"] == 1


async def test_a_cancelled_run_is_recorded_and_leaves_nothing_running(
    node: Runtime, workspace: Path, sink: RecordingSink
) -> None:
    tasks_before = asyncio.all_tasks()
    work = asyncio.ensure_future(node.run(PROMPT, workspace=workspace))
    while not any(event.phase == "context_gathering" for event in sink.of(PhaseFinished)):
        await asyncio.sleep(0.01)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert sink.of(RunFinished)[0].status == "cancelled"
    await until_only(tasks_before)
    await node.settle()
    run_id = sink.of(RunStarted)[0].run_id
    assert run_id is not None
    assert (await node.database.fetch("runs.by_ending", run_id.hex[-12:]))[0]["status"] == "cancelled"


async def test_runs_at_once_keep_their_counts_apart(node: Runtime, workspace: Path) -> None:
    one, two = await asyncio.gather(
        node.run("Explain the parser", workspace=workspace), node.run("Write tests for the parser", workspace=workspace)
    )
    assert one.run_id != two.run_id
    for report in (one, two):
        stored = await _stored_calls(node, report.run_id.hex)
        assert report.calls["calls"] + report.calls["stopped_early"] == stored


async def _stored_calls(node: Runtime, run: str) -> int:
    await node.settle()
    row = (await node.database.fetch("runs.by_ending", run))[0]
    return len(await node.database.fetch("runs.calls", row["id"]))
