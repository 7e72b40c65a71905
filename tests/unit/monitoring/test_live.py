"""The live minute, thresholds with their margins, and what the process uses."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omninode.core.errors import InvalidArgumentError
from omninode.core.events import (
    AgentOutcome,
    AlertChanged,
    BreakerChanged,
    CallFinished,
    ErrorOccurred,
    MetricRecorded,
    PhaseFinished,
    TaskFinished,
)
from omninode.monitoring.alerts import AlertBook, AlertWatch
from omninode.monitoring.monitor import PerformanceMonitor
from omninode.monitoring.resources import ResourceSampler
from omninode.monitoring.snapshot import LiveWindow
from omninode.monitoring.thresholds import DEFAULT_THRESHOLDS, Threshold
from omninode.testing.clock import FakeClock
from omninode.testing.sink import RecordingSink

pytestmark = pytest.mark.unit


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def phase(duration_ms: float = 10, *, ok: bool = True, name: str = "reporting") -> PhaseFinished:
    return PhaseFinished(phase=name, duration_ms=duration_ms, ok=ok)


def test_rates_and_percentiles_of_the_last_minute(clock):
    window = LiveWindow(clock=clock)
    for number in range(1, 101):
        window.add(phase(number, ok=number > 10))
    clock.advance(50)
    snapshot = window.snapshot()
    reporting = snapshot.phases["reporting"]
    assert (reporting.count, reporting.failed, reporting.error_rate, reporting.success_rate) == (100, 10, 0.1, 0.9)
    assert reporting.per_second == pytest.approx(2.0)
    assert reporting.p50_ms == pytest.approx(50, rel=0.02)
    assert reporting.p95_ms == pytest.approx(95, rel=0.02)
    assert reporting.p99_ms == pytest.approx(99, rel=0.02)


def test_what_is_older_than_a_minute_falls_away(clock):
    window = LiveWindow(clock=clock)
    window.add(phase())
    window.add(ErrorOccurred(error_class="E", message="m"))
    clock.advance(59)
    assert (window.snapshot().overall.count, window.snapshot().errors) == (1, 1)
    clock.advance(1)
    assert (window.snapshot().overall.count, window.snapshot().errors) == (0, 0)
    assert window.snapshot().overall.error_rate is None


def test_an_idle_window_has_no_rates_to_alert_on(clock):
    figures = LiveWindow(clock=clock).snapshot().values()
    assert "error_rate" not in figures
    assert (figures["throughput_per_s"], figures["open_breakers"]) == (0.0, 0.0)


def test_kinds_models_agents_metrics_and_breakers_are_told_apart(clock):
    window = LiveWindow(clock=clock)
    window.add(CallFinished(role="r", model="m1", provider="p", deployment="d", ok=False, duration_ms=7))
    for status in ("ok", "failed", "skipped"):
        window.add(TaskFinished(task_id="t", agent_id="a", task_type="x", description="", status=status, duration_ms=1))
    window.add(AgentOutcome(agent_id="coder", task_type="x", success=True, duration_ms=1))
    window.add(MetricRecorded(metric="rss_bytes", value=5))
    window.add(MetricRecorded(metric="rss_bytes", value=3))
    for breaker, after in (("a", "open"), ("b", "open"), ("a", "half_open")):
        window.add(BreakerChanged(breaker=breaker, before="x", after=after, reason="r", generation=1))
    snapshot = window.snapshot()
    assert (snapshot.kinds["call"].failed, snapshot.models["m1"].count, snapshot.agents["coder"].count) == (1, 1, 1)
    # A skipped task was never started, so it neither succeeded nor failed.
    assert (snapshot.kinds["task"].count, snapshot.kinds["task"].failed) == (2, 1)
    assert snapshot.metrics["rss_bytes"] == 3
    assert snapshot.open_breakers == ("b",)
    assert snapshot.values()["rss_bytes.p95"] == pytest.approx(3, rel=0.7)


def test_endless_names_share_one(clock):
    window = LiveWindow(clock=clock)
    for number in range(400):
        window.add(phase(name=f"phase-{number}"))
    snapshot = window.snapshot()
    assert snapshot.overall.count == 400
    assert snapshot.phases["other"].count > 100


def judged(book: AlertBook, *steps: tuple[float, float | None]) -> list[tuple[float, str]]:
    changes = []
    for moment, value in steps:
        figures = {} if value is None else {"lag": value}
        changes += [(moment, change.state) for change in book.judge(figures, moment)]
    return changes


def test_an_alert_fires_only_after_its_time_and_only_once():
    book = AlertBook([Threshold(metric="lag", above=100, for_s=10)])
    assert judged(book, (0, 150), (9, 150), (10, 150), (20, 500)) == [(10, "firing")]


def test_a_short_excursion_is_forgotten():
    book = AlertBook([Threshold(metric="lag", above=100, for_s=10)])
    assert judged(book, (0, 150), (5, 50), (6, 150), (15, 150)) == []
    assert book.status(15)[0].state == "pending"


def test_a_value_on_the_edge_does_not_flap():
    book = AlertBook([Threshold(metric="lag", above=100, margin=0.1, calm_s=0)])
    assert judged(book, (0, 101), (1, 99), (2, 101), (3, 95), (4, 89)) == [(0, "firing"), (4, "resolved")]


def test_it_must_stay_calm_before_it_resolves():
    book = AlertBook([Threshold(metric="lag", above=100, calm_s=30)])
    steps = [(0, 150), (10, 50), (30, 95), (40, 50), (69, 50), (70, 50)]
    assert judged(book, *steps) == [(0, "firing"), (70, "resolved")]


def test_a_figure_that_vanishes_resolves_its_alert():
    book = AlertBook([Threshold(metric="lag", above=100, calm_s=5)])
    assert judged(book, (0, 150), (1, None), (6, None)) == [(0, "firing"), (6, "resolved")]


def test_a_lower_limit_works_the_same_way():
    book = AlertBook([Threshold(metric="lag", below=10, calm_s=0)])
    assert judged(book, (0, 9), (1, 10.5), (2, 11)) == [(0, "firing"), (2, "resolved")]


def test_a_guard_keeps_a_rate_of_few_quiet():
    book = AlertBook([Threshold(metric="error_rate", above=0.2, guard=("count", 10))])
    assert book.judge({"error_rate": 1.0, "count": 3.0}, 0) == ()
    (change,) = book.judge({"error_rate": 1.0, "count": 10.0}, 1)
    assert (change.alert, change.value, change.threshold) == ("error_rate_warning", 1.0, 0.2)
    assert "error_rate is 1, above 0.2" in change.message


@given(st.lists(st.tuples(st.floats(0, 20), st.none() | st.floats(0, 200)), max_size=60))
def test_firing_and_resolved_always_alternate(steps):
    book = AlertBook([Threshold(metric="lag", above=100, for_s=5, calm_s=10)])
    moment, states = 0.0, []
    for wait, value in steps:
        moment += wait
        states += [change.state for change in book.judge({} if value is None else {"lag": value}, moment)]
    assert states == [("firing", "resolved")[number % 2] for number in range(len(states))]


def test_contradictory_thresholds_are_refused():
    with pytest.raises(InvalidArgumentError, match="either above or below"):
        Threshold(metric="lag")
    with pytest.raises(InvalidArgumentError, match="margin"):
        Threshold(metric="lag", above=1, margin=2)
    with pytest.raises(InvalidArgumentError, match="two alerts"):
        AlertBook([Threshold(metric="lag", above=1), Threshold(metric="lag", above=2)])


async def test_the_watch_tells_of_errors_dropped_telemetry_and_open_breakers(clock):
    sink, monitor = RecordingSink(), PerformanceMonitor(clock=clock)
    dropped = [0.0]
    watch = AlertWatch(monitor, sink, totals=lambda: {"telemetry_dropped": dropped[0]}, clock=clock)
    assert watch.evaluate() == ()
    dropped[0] = 3
    for _ in range(12):
        monitor.observe(phase(ok=False))
    monitor.observe(BreakerChanged(breaker="d", before="closed", after="open", reason="r", generation=1))
    for _ in range(7):
        watch.evaluate()
        clock.advance(5)
    assert {event.alert for event in sink.of(AlertChanged)} == {
        "telemetry_dropped",
        "error_rate_high",
        "error_rate_critical",
    }
    for _ in range(40):
        clock.advance(5)
        watch.evaluate()
    resolved = {event.alert for event in sink.of(AlertChanged) if event.state == "resolved"}
    assert resolved == {"telemetry_dropped", "error_rate_high", "error_rate_critical"}
    assert watch.statistics().firing == ("breaker_open",)


async def test_the_watch_runs_by_itself_and_survives_a_broken_figure():
    clock = FakeClock(auto_advance=True)

    def broken() -> dict[str, float]:
        raise OSError("no")

    async with AlertWatch(PerformanceMonitor(clock=clock), RecordingSink(), totals=broken, clock=clock) as watch:
        for _ in range(10):
            await asyncio.sleep(0)
    assert watch.statistics().failed >= 2
    assert watch.statistics().last_error == "OSError: no"
    await watch.close()


def test_the_default_thresholds_watch_what_the_snapshot_has(clock):
    monitor = PerformanceMonitor(clock=clock)
    monitor.observe(phase())
    monitor.observe(CallFinished(role="r", model="m", provider="p", deployment="d", ok=True, duration_ms=1))
    for metric in ("connections_missing", "loop_lag_ms", "pool_wait_p99_ms", "stray_rows"):
        monitor.observe(MetricRecorded(metric=metric, value=1, labels={"gauge": True}))
    known = set(monitor.snapshot().values()) | {"telemetry_dropped_recently"}
    assert {threshold.metric for threshold in DEFAULT_THRESHOLDS} <= known
    assert {threshold.guard[0] for threshold in DEFAULT_THRESHOLDS if threshold.guard} <= known


class Pool:
    open, in_use, waiting, wait_p99_ms = 5, 3, 1, 2.5


async def test_a_sample_tells_what_the_process_and_the_pool_use():
    sink = RecordingSink()
    figures = await ResourceSampler(sink, pool=Pool).sample()
    emitted = {event.metric: event.value for event in sink.of(MetricRecorded)}
    assert emitted == dict(figures)
    assert all(event.labels == {"gauge": True} for event in sink.of(MetricRecorded))
    assert figures["rss_bytes"] > 1_000_000
    assert figures["threads"] >= 1
    assert (figures["database_connections"], figures["database_connections_in_use"]) == (5, 3)
    assert (figures["database_waiting"], figures["pool_wait_p99_ms"]) == (1, 2.5)


async def test_a_late_loop_shows_in_the_next_sample_and_not_in_the_one_after(clock):
    sampler = ResourceSampler(RecordingSink(), clock=clock, interval_s=1000, lag_interval_s=0.1)
    async with sampler:
        while sampler.statistics().samples == 0:
            await asyncio.sleep(0.001)
        clock.advance(0.35)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert (await sampler.sample())["loop_lag_ms"] == pytest.approx(250)
        assert (await sampler.sample())["loop_lag_ms"] == 0
    assert sampler.statistics().worst_lag_ms == pytest.approx(250)


@pytest.mark.fault
async def test_a_pool_that_cannot_be_read_costs_its_figures_only():
    def gone() -> Pool:
        raise RuntimeError("closed")

    sampler = ResourceSampler(RecordingSink(), pool=gone)
    figures = await sampler.sample()
    assert "rss_bytes" in figures
    assert "database_connections" not in figures
    assert (sampler.statistics().failed, sampler.statistics().last_error) == (1, "RuntimeError: closed")
    assert "database_connections" not in await ResourceSampler(RecordingSink(), pool=lambda: None).sample()
