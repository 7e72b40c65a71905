"""The main job over real HTTP: phases in order, replanning, voting down, failures, deadline, cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from omninode.core.errors import InputRefusedError, QuorumFailedError
from omninode.core.events import PhaseFinished, RunFinished, RunStarted, TaskFinished, VoteCast
from omninode.runtime.runtime import Runtime
from omninode.runtime.settings import load_settings
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
async def node(database_url: str, tmp_path: Path) -> AsyncIterator[Runtime]:
    config = ConnectionConfig.from_url(database_url)
    settings = load_settings(
        postgres_host=config.host, postgres_user=config.user, postgres_db=config.database, data_dir=tmp_path / "data"
    )
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
    assert stored[0]["report"]["tasks"] == report.as_json()["tasks"]
    calls = await node.database.fetch("runs.calls", report.run_id)
    assert {call["role"] for call in calls} == {"planner", "voter", "worker"}
    votes = await node.database.fetch("runs.votes", report.run_id)
    assert len(votes) == len(sink.of(VoteCast))


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


async def test_at_the_deadline_the_run_ends_and_says_so(node: Runtime, workspace: Path) -> None:
    report = await node.run(PROMPT, workspace=workspace, deadline_s=0.05)
    assert report.status == "failed"
    assert "allow" in (report.error or "")


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
