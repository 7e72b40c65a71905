"""Every event arrives in its table, through the real bus, spool and database; and a run is read back from there."""

import time
from uuid import uuid4

import pytest

from omninode.core.deadline import Deadline
from omninode.core.events import (
    AgentOutcome,
    AlertChanged,
    AttemptFinished,
    BreakerChanged,
    CallFinished,
    ErrorOccurred,
    Event,
    MetricRecorded,
    PhaseFinished,
    PhaseStarted,
    RetryScheduled,
    RunFinished,
    RunStarted,
    SourceFinished,
    TaskFinished,
    TaskStarted,
    VoteCast,
)
from omninode.monitoring.monitor import PerformanceMonitor
from omninode.monitoring.writer import EventWriter
from omninode.storage.config import ConnectionConfig
from omninode.storage.connection import connect
from omninode.storage.database import Database
from omninode.storage.flusher import SpoolFlusher
from omninode.storage.spool import Spool
from omninode.telemetry.bus import EventBus
from omninode.telemetry.errors import error_event

pytestmark = pytest.mark.integration

KEY = "sk-ant-api03-Zq8Xw3Lm5Tn7Vb2Kc9Rd4Hf6"


def one_of_each(run_id) -> dict[str, list[Event]]:
    """An event of every class, under the table that keeps it ("" for none)."""
    common = {"run_id": run_id, "phase": "parallel_execution"}
    return work_of(run_id, common) | findings_of(run_id, common)


def work_of(run_id, common) -> dict[str, list[Event]]:
    return {
        "runs": [RunStarted(run_id=run_id, prompt="say hello", workspace="/repo", is_simulated=True)],
        "tasks": [
            TaskFinished(
                task_id="t1",
                agent_id="coder",
                task_type="code",
                description="write it",
                depends_on=("t0", "t2"),
                status="failed",
                duration_ms=12.4,
                wait_ms=1,
                output="text\x00 with NUL",
                error="broken",
                **common,
            )
        ],
        "llm_calls": [
            CallFinished(
                role="worker",
                model="m",
                provider="p",
                deployment="d",
                ok=True,
                duration_ms=99.6,
                ttft_ms=5,
                attempts=2,
                tokens_in=10,
                tokens_out=3,
                cost_uusd=17,
                cache="miss",
                task_id="t1",
                agent_id="coder",
                status=200,
                **common,
            ),
            CallFinished(role="voter", model="x", provider="p", deployment="e", ok=False, duration_ms=1, **common),
        ],
    }


def findings_of(run_id, common) -> dict[str, list[Event]]:
    return {
        "votes": [
            VoteCast(
                round=1, deployment="d", model="m", decision="PASS", score=0.9, confidence=0.8, deficiencies=("a", "b")
            ),
            VoteCast(
                round=1,
                deployment="e",
                model="m",
                decision=None,
                score=None,
                confidence=None,
                counted=False,
                error_class="AttemptTimeoutError",
            ),
        ],
        "error_events": [
            error_event(ValueError(f"401 with {KEY}"), where="router", context={"api_key": KEY}),
            ErrorOccurred(error_class="KeyError", message="x", **common),
        ],
        "agent_performance": [
            AgentOutcome(agent_id="coder", task_type="code", success=True, duration_ms=5, metadata={"a": [1]}, **common)
        ],
        "alerts": [
            AlertChanged(
                alert="a", state="firing", severity="critical", metric="m", value=2, threshold=1, message="m is 2"
            )
        ],
        "performance_metrics": [
            PhaseFinished(run_id=run_id, phase="reporting", duration_ms=3.5, metadata={"n": 1}),
            SourceFinished(source="web", context_type="web", status="ok", items=2, duration_ms=7, **common),
            MetricRecorded(metric="queue_wait_ms", value=4),
            AttemptFinished(call="c", deployment="d", attempt=1, outcome="success", duration_ms=2, **common),
            RetryScheduled(call="c", attempt=1, wait_s=0.5, error_class="E", error="e", **common),
            BreakerChanged(breaker="d", before="closed", after="open", reason="failures", generation=1),
        ],
        "": [
            PhaseStarted(run_id=run_id, phase="reporting"),
            TaskStarted(task_id="t", agent_id="a", description="d", **common),
        ],
    }


async def counts(url: str, tables) -> dict[str, int]:
    connection = await connect(ConnectionConfig.from_url(url))
    try:
        return {table: await connection.fetchval(f"SELECT count(*) FROM {table}") for table in tables}
    finally:
        await connection.close()


async def test_every_event_class_lands_in_its_table(database: Database, database_url: str, tmp_path):
    run_id = uuid4()
    expected = one_of_each(run_id)
    spool = Spool(tmp_path)
    async with EventBus() as bus, SpoolFlusher(spool, database) as flusher:
        writer = EventWriter(bus, spool)
        for events in expected.values():
            for event in events:
                bus.emit(event)
        await bus.drain()
        await flusher.flush(Deadline.after(10))
    assert writer.statistics().lost == 0
    found = await counts(database_url, [table for table in expected if table] + ["dead_letters"])
    assert found == {table: len(events) for table, events in expected.items() if table} | {"dead_letters": 0}
    connection = await connect(ConnectionConfig.from_url(database_url))
    task = await connection.fetchrow("SELECT * FROM tasks")
    error = await connection.fetchrow("SELECT * FROM error_events WHERE error_class = 'ValueError'")
    await connection.close()
    assert (task["depends_on"], task["output"], task["duration_ms"]) == (["t0", "t2"], "text with NUL", 12)
    assert error["context"]["api_key"] == "[redacted]"
    assert "Zq8Xw" not in repr(dict(error))


async def test_the_end_of_a_run_replaces_its_beginning_and_the_run_reads_back(database: Database, tmp_path):
    run_id, spool = uuid4(), Spool(tmp_path)
    started_ns = time.time_ns()
    async with EventBus() as bus, SpoolFlusher(spool, database) as flusher:
        EventWriter(bus, spool)
        live = PerformanceMonitor(sink=bus, database=database)
        bus.subscribe(live.observe)
        bus.emit(RunStarted(run_id=run_id, prompt="p", at_ns=started_ns))
        for name in ("context_gathering", "reporting"):
            async with live.phase(run_id, name, metadata={"note": name}):
                pass
        await bus.drain()
        await flusher.flush(Deadline.after(10))
        early = await PerformanceMonitor(database=database).get_performance_metrics(run_id)
        assert (early.origin, early.status) == ("database", "running")
        for event in (
            CallFinished(
                run_id=run_id, role="r", model="m", provider="p", deployment="d", ok=True, duration_ms=1, cost_uusd=5
            ),
            SourceFinished(run_id=run_id, source="web", context_type="web", status="late", items=0, duration_ms=3),
            RunFinished(
                run_id=run_id, prompt="p", started_ns=started_ns, status="done", duration_ms=55, report={"a": 1}
            ),
        ):
            bus.emit(event)
        await bus.drain()
        await flusher.flush(Deadline.after(10))
        both = await live.get_performance_metrics(run_id)
        later = await PerformanceMonitor(database=database).get_performance_metrics(run_id)
    assert (both.origin, later.origin) == ("both", "database")
    for metrics in (both, later):
        assert (metrics.status, metrics.duration_ms, metrics.degraded) == ("done", 55, None)
        assert [entry.phase for entry in metrics.phases] == ["context_gathering", "reporting"]
        assert [(entry.source, entry.status) for entry in metrics.sources] == [("web", "late")]
        assert (metrics.totals.calls, metrics.totals.cost_uusd) == (1, 5)
    assert [entry.id for entry in both.phases] == [entry.id for entry in later.phases]
    assert later.phases[0].metadata == {"note": "context_gathering"}


async def test_a_run_nobody_knows_is_nowhere(database: Database):
    metrics = await PerformanceMonitor(database=database).get_performance_metrics(uuid4())
    assert (metrics.origin, metrics.status, metrics.phases, metrics.success_rate) == ("nowhere", None, (), None)
