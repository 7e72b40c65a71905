"""Every event class has its row, or is known to have none; rows are fit for the database."""

import math
from datetime import UTC, datetime
from uuid import uuid4

import orjson
import pytest

from omninode.core import events
from omninode.core.errors import InvalidArgumentError
from omninode.core.events import (
    Audited,
    BreakerChanged,
    CallFinished,
    ErrorOccurred,
    Event,
    MetricRecorded,
    PhaseFinished,
    PhaseStarted,
    RunFinished,
    RunStarted,
    SourceFinished,
    TaskFinished,
    TaskStarted,
)
from omninode.monitoring.rows import row_of
from omninode.monitoring.writer import EventWriter
from omninode.telemetry.bus import EventBus

pytestmark = pytest.mark.unit

KEY = "sk-ant-api03-Zq8Xw3Lm5Tn7Vb2Kc9Rd4Hf6"
# An audited act is put into its table past the bus, which may drop: `runtime.audit`.
ONLY_FOR_LISTENERS = {Audited, PhaseStarted, TaskStarted}


class ListSpool:
    """A spool that keeps its rows in a list and takes at most `room` of them."""

    def __init__(self, room: int = 1000) -> None:
        self.rows: list[tuple[str, dict, str | None]] = []
        self.room = room

    def put(self, table, row, *, key=None):
        if len(self.rows) >= self.room:
            return False
        self.rows.append((table, row, key))
        return True


def test_no_event_class_is_forgotten():
    from omninode.monitoring.rows import _ROWS

    classes = {
        kind
        for kind in vars(events).values()
        if isinstance(kind, type) and issubclass(kind, Event) and kind is not Event
    }
    assert set(_ROWS) | ONLY_FOR_LISTENERS == classes


def test_a_run_is_one_row_that_its_end_replaces():
    run_id, spool = uuid4(), ListSpool()
    writer = EventWriter(None, spool)
    start = RunStarted(run_id=run_id, prompt="p", at_ns=1_000_000_000)
    writer.write(start)
    writer.write(
        RunFinished(
            run_id=run_id, prompt="p", started_ns=start.at_ns, status="done", duration_ms=12.6, at_ns=2_000_000_000
        )
    )
    (table, running, key), (_, done, _) = spool.rows
    assert (table, key) == ("runs", "id")
    assert running["id"] == done["id"] == str(run_id)
    assert (running["status"], running["finished_at"], running["duration_ms"]) == ("running", None, None)
    assert (done["status"], done["duration_ms"], done["started_at"]) == ("done", 13, running["started_at"])
    assert datetime.fromisoformat(done["finished_at"]) == datetime(1970, 1, 1, 0, 0, 2, tzinfo=UTC)


def test_phases_sources_and_breakers_become_metrics():
    run_id = uuid4()
    table, row = row_of(
        PhaseFinished(run_id=run_id, phase="reporting", duration_ms=1.5, ok=False, attempt=2, metadata={"a": 1})
    )
    assert (table, row["metric"], row["value"], row["ok"]) == ("performance_metrics", "phase_duration_ms", 1.5, False)
    assert row["labels"] == {"a": 1, "attempt": 2}
    _, row = row_of(SourceFinished(source="web", context_type="web", status="late", items=0, duration_ms=9))
    assert (row["metric"], row["ok"], row["labels"]["status"]) == ("source_duration_ms", False, "late")
    _, row = row_of(BreakerChanged(breaker="d", before="closed", after="open", reason="r", generation=1))
    assert (row["metric"], row["value"], row["ok"]) == ("breaker_state", 1.0, False)


def test_text_of_others_is_cleaned_wherever_it_stands():
    dirty = f"a\x00b \ud800 {KEY}"
    for event in (
        RunStarted(prompt=dirty, workspace=dirty),
        ErrorOccurred(error_class="E", message=dirty, context={"deep": [{"x": dirty}]}, where=dirty),
        TaskFinished(
            task_id=dirty,
            agent_id=dirty,
            task_type=dirty,
            description=dirty,
            depends_on=(dirty,),
            status="ok",
            duration_ms=1,
            output=dirty,
        ),
    ):
        _, row = row_of(event)
        stored = orjson.dumps(row).decode()
        assert "Zq8Xw" not in stored
        assert "\\u0000" not in stored
        assert "ab ? [REDACTED:ANTHROPIC_KEY]" in stored


def test_an_endless_output_is_cut_with_a_note():
    finished = TaskFinished(
        task_id="t", agent_id="a", task_type="x", description="d", status="ok", duration_ms=1, output="y " * 150_000
    )
    _, row = row_of(finished)
    assert row["output"].endswith("… [100000 more characters]")


def test_an_unknown_price_stays_unknown():
    call = CallFinished(role="r", model="m", provider="p", deployment="d", ok=True, duration_ms=1)
    assert row_of(call)[1]["cost_uusd"] is None


def test_a_value_that_is_no_number_is_refused_and_counted():
    with pytest.raises(InvalidArgumentError, match="finite"):
        row_of(MetricRecorded(metric="m", value=math.inf))
    writer = EventWriter(None, ListSpool())
    writer.write(MetricRecorded(metric="m", value=math.nan))
    assert writer.statistics().failed == {"MetricRecorded": 1}
    assert "finite" in (writer.statistics().last_error or "")


def test_gauges_are_thinned_and_everything_else_is_kept():
    spool = ListSpool()
    writer = EventWriter(None, spool, gauge_interval_s=10)
    for second in range(25):
        at_ns = second * 1_000_000_000
        writer.write(MetricRecorded(metric="rss_bytes", value=second, labels={"gauge": True}, at_ns=at_ns))
        writer.write(MetricRecorded(metric="queue_wait_ms", value=second, at_ns=at_ns))
    kept = [row["value"] for _, row, _ in spool.rows if row["metric"] == "rss_bytes"]
    assert kept == [0, 10, 20]
    assert len(spool.rows) == 28
    assert writer.statistics().thinned == 22


@pytest.mark.fault
async def test_rows_that_the_spool_refuses_are_counted_as_lost():
    spool = ListSpool(room=1)
    async with EventBus() as bus:
        writer = EventWriter(bus, spool)
        for _ in range(3):
            bus.emit(PhaseFinished(phase="reporting", duration_ms=1))
        bus.emit(PhaseStarted(phase="reporting"))
        await bus.drain()
        writer.close()
        bus.emit(PhaseFinished(phase="reporting", duration_ms=1))
        await bus.drain()
    statistics = writer.statistics()
    assert (statistics.written, statistics.refused, statistics.lost) == (
        {"performance_metrics": 1},
        {"PhaseFinished": 2},
        2,
    )


@pytest.mark.fault
def test_a_spool_that_breaks_costs_its_rows_and_nothing_else():
    class Broken:
        def put(self, table, row, *, key=None):
            raise OSError("disk full")

    writer = EventWriter(None, Broken())
    writer.write(PhaseFinished(phase="reporting", duration_ms=1))
    assert (writer.statistics().failed, writer.statistics().last_error) == (
        {"PhaseFinished": 1},
        "PhaseFinished: disk full",
    )
