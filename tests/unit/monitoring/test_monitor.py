"""Phases open and close, runs stay apart, and what comes back from the bus counts once."""

import asyncio
from uuid import UUID, uuid4

import pytest

from omninode.core import current
from omninode.core.errors import DatabaseUnavailableError, InvalidArgumentError
from omninode.core.events import AgentOutcome, CallFinished, ErrorOccurred, NullSink, PhaseFinished, PhaseStarted
from omninode.monitoring.monitor import PerformanceMonitor
from omninode.telemetry.bus import EventBus
from omninode.testing.clock import FakeClock
from omninode.testing.sink import RecordingSink

pytestmark = pytest.mark.unit


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def sink() -> RecordingSink:
    return RecordingSink()


@pytest.fixture
def monitor(clock: FakeClock, sink: RecordingSink) -> PerformanceMonitor:
    return PerformanceMonitor(sink=sink, clock=clock)


async def test_a_phase_is_timed_announced_and_emitted(monitor, clock, sink):
    run_id = uuid4()
    async with monitor.phase(run_id, "context_gathering", metadata={"sources": 3}) as phase:
        clock.advance(1.5)
        phase.metadata["items"] = 7
    started, finished = sink.events
    assert isinstance(started, PhaseStarted)
    assert started.phase == "context_gathering"
    assert isinstance(finished, PhaseFinished)
    assert (finished.run_id, finished.phase, finished.ok) == (run_id, "context_gathering", True)
    assert finished.duration_ms == pytest.approx(1500)
    assert finished.metadata == {"sources": 3, "items": 7}


async def test_the_body_of_a_phase_knows_its_run_and_phase(monitor):
    run_id = uuid4()
    async with monitor.phase(run_id, "reporting"):
        assert (current.scope().run_id, current.scope().phase) == (run_id, "reporting")
    assert current.scope().run_id is None


async def test_a_phase_takes_the_run_of_the_scope_and_refuses_to_belong_to_none(monitor, sink):
    run_id = uuid4()
    with current.entered(run_id=run_id):
        async with monitor.phase(None, "reporting"):
            pass
    assert sink.of(PhaseFinished)[0].run_id == run_id
    with pytest.raises(InvalidArgumentError, match="pass run_id"):
        async with monitor.phase(None, "reporting"):
            pass


async def test_an_exception_ends_the_phase_as_failed_and_goes_on(monitor, sink):
    with pytest.raises(KeyError):
        async with monitor.phase(uuid4(), "reporting"):
            raise KeyError("gone")
    assert (sink.of(PhaseFinished)[0].ok, sink.of(PhaseFinished)[0].error_class) == (False, "KeyError")


async def test_a_cancelled_phase_is_recorded_as_such(monitor, sink):
    async def body() -> None:
        async with monitor.phase(uuid4(), "reporting"):
            await asyncio.Event().wait()

    task = asyncio.create_task(body())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sink.of(PhaseFinished)[0].error_class == "CancelledError"
    assert monitor.statistics().open_phases == 0


async def test_a_soft_failure_counts_as_failed_without_raising(monitor, sink):
    async with monitor.phase(uuid4(), "quorum_validation") as phase:
        phase.fail("QuorumFailedError")
    assert sink.of(PhaseFinished)[0].ok is False


async def test_the_first_track_opens_and_the_second_closes(monitor, clock, sink):
    run_id = uuid4()
    assert await monitor.track_phase_performance(run_id, "context_gathering", {"test": True}) is None
    assert (await monitor.get_performance_metrics(run_id)).open_phases == ("context_gathering",)
    clock.advance(0.25)
    measured = await monitor.track_phase_performance(run_id, "context_gathering", {"more": 1})
    assert measured is not None
    assert measured.duration_ms == pytest.approx(250)
    assert measured.metadata == {"test": True, "more": 1}
    assert await monitor.track_phase_performance(run_id, "context_gathering") is None
    assert len(sink.of(PhaseFinished)) == 1


async def test_a_duration_is_recorded_after_the_fact_and_leaves_an_open_phase_open(monitor):
    run_id = uuid4()
    await monitor.track_phase_performance(run_id, "reporting")
    measured = await monitor.track_phase_performance(run_id, "reporting", duration_ms=12.5)
    assert measured is not None
    assert measured.duration_ms == 12.5
    assert (await monitor.get_performance_metrics(run_id)).open_phases == ("reporting",)


@pytest.mark.parametrize("duration", [-1.0, float("nan")])
async def test_an_impossible_duration_is_refused(monitor, duration):
    with pytest.raises(InvalidArgumentError, match="zero or more"):
        await monitor.track_phase_performance(uuid4(), "reporting", duration_ms=duration)


async def test_overlapping_runs_stay_apart(monitor, clock):
    one, other = uuid4(), uuid4()

    async def run(run_id: UUID, seconds: float) -> None:
        async with monitor.phase(run_id, "context_gathering"):
            await clock.sleep(seconds)

    tasks = [asyncio.create_task(run(one, 1)), asyncio.create_task(run(other, 3))]
    await asyncio.sleep(0)
    clock.advance(1)
    await asyncio.sleep(0)
    clock.advance(2)
    for task in tasks:
        await task
    assert (await monitor.get_performance_metrics(one)).phase_ms == {"context_gathering": pytest.approx(1000)}
    assert (await monitor.get_performance_metrics(other)).phase_ms == {"context_gathering": pytest.approx(3000)}


async def test_a_repeated_phase_counts_its_attempts_and_adds_up(monitor, clock, sink):
    run_id = uuid4()
    for _ in range(3):
        async with monitor.phase(run_id, "task_decomposition"):
            clock.advance(1)
    assert [event.attempt for event in sink.of(PhaseFinished)] == [1, 2, 3]
    assert (await monitor.get_performance_metrics(run_id)).phase_ms == {"task_decomposition": pytest.approx(3000)}


async def test_a_run_may_be_named_by_any_text(monitor):
    await monitor.track_phase_performance("my run", "reporting", duration_ms=5)
    assert (await monitor.get_performance_metrics("my run")).phase_ms == {"reporting": 5}
    assert (await monitor.get_performance_metrics("your run")).origin == "nowhere"


async def test_an_event_that_comes_back_from_the_bus_counts_once():
    async with EventBus() as bus:
        monitor = PerformanceMonitor(sink=bus)
        bus.subscribe(monitor.observe)
        run_id = uuid4()
        async with monitor.phase(run_id, "reporting"):
            pass
        bus.emit(PhaseFinished(run_id=run_id, phase="reporting", duration_ms=1))
        await bus.drain()
        assert monitor.snapshot().phases["reporting"].count == 2
        assert len((await monitor.get_performance_metrics(run_id)).phases) == 2


async def test_totals_of_a_run_come_from_what_others_emit(monitor):
    run_id = uuid4()
    call = {"role": "worker", "model": "m", "provider": "p", "deployment": "d", "duration_ms": 10.0}
    monitor.observe(CallFinished(run_id=run_id, ok=True, tokens_in=5, tokens_out=7, cost_uusd=11, **call))
    monitor.observe(CallFinished(run_id=run_id, ok=False, attempts=3, **call))
    monitor.observe(ErrorOccurred(run_id=run_id, error_class="X", message="m"))
    totals = (await monitor.get_performance_metrics(run_id)).totals
    assert (totals.calls, totals.calls_failed, totals.attempts) == (2, 1, 4)
    assert (totals.tokens_in, totals.tokens_out, totals.cost_uusd, totals.unpriced_calls) == (5, 7, 11, 1)
    assert totals.errors == 1


async def test_the_oldest_run_is_forgotten_when_memory_is_full():
    monitor = PerformanceMonitor(NullSink(), max_runs=2)
    for name in ("a", "b", "c"):
        await monitor.track_phase_performance(name, "reporting", duration_ms=1)
    assert (await monitor.get_performance_metrics("a")).origin == "nowhere"
    assert (await monitor.get_performance_metrics("c")).origin == "memory"
    assert monitor.statistics().forgotten_runs == 1


async def test_a_monitor_that_tells_nobody_still_measures():
    monitor = PerformanceMonitor(NullSink())
    async with monitor.phase("r", "reporting"):
        pass
    assert (await monitor.get_performance_metrics("r")).phase_ms.keys() == {"reporting"}


async def test_without_arguments_it_uses_the_open_runtime(sink):
    class OpenRuntime:
        def __init__(self) -> None:
            self.sink = sink
            self.database = None

    monitor = PerformanceMonitor()
    with current.entered(runtime=OpenRuntime()):
        await monitor.track_agent_performance("coder", "code", success=True, duration_ms=1, run_id="r")
    assert sink.of(AgentOutcome)[0].agent_id == "coder"


@pytest.mark.fault
async def test_a_database_that_is_away_costs_the_history_not_the_answer():
    class Away:
        async def fetch(self, name: str, *args: object) -> list[object]:
            raise DatabaseUnavailableError("connection refused")

    monitor = PerformanceMonitor(database=Away())
    await monitor.track_phase_performance("r", "reporting", duration_ms=1)
    metrics = await monitor.get_performance_metrics("r")
    assert metrics.phase_ms == {"reporting": 1}
    assert "connection refused" in (metrics.degraded or "")
