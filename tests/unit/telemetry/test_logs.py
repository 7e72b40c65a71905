"""Four streams of JSON lines: what goes where, what is held back, what never shows."""

import io
import logging
from uuid import uuid4

import orjson
import pytest

from omninode.core import current
from omninode.core.errors import ConfigurationError, InvalidArgumentError
from omninode.core.events import (
    AlertChanged,
    BreakerChanged,
    CallFinished,
    ErrorOccurred,
    MetricRecorded,
    PhaseFinished,
    PhaseStarted,
    RetryScheduled,
    RunFinished,
    RunStarted,
)
from omninode.telemetry.bus import EventBus
from omninode.telemetry.logs import Logs, LogWriter, configure_logs

pytestmark = pytest.mark.unit

KEY = "sk-ant-api03-Zq8Xw3Lm5Tn7Vb2Kc9Rd4Hf6"


@pytest.fixture
def logs(tmp_path):
    opened = configure_logs(tmp_path)
    yield opened
    opened.close()


def lines(folder, stream):
    return [orjson.loads(line) for line in (folder / f"{stream}.jsonl").read_bytes().splitlines()]


def retry(run_id):
    return RetryScheduled(run_id=run_id, call="c", attempt=1, wait_s=1, error_class="E", error="e")


def finished(run_id, status):
    return RunFinished(run_id=run_id, prompt="the prompt", started_ns=1, status=status, duration_ms=5)


def test_each_event_goes_to_its_stream(logs: Logs, tmp_path):
    run_id = uuid4()
    writer = LogWriter(None, logs)
    for event in (
        RunStarted(run_id=run_id, prompt="the prompt"),
        PhaseFinished(run_id=run_id, phase="reporting", duration_ms=3, ok=False),
        CallFinished(role="r", model="m", provider="p", deployment="d", ok=True, duration_ms=1),
        ErrorOccurred(run_id=run_id, error_class="ValueError", message="broken"),
        BreakerChanged(breaker="d", before="closed", after="open", reason="failures", generation=1),
        AlertChanged(
            alert="a", state="firing", severity="warning", metric="m", value=2.0, threshold=1.0, message="m is 2"
        ),
        finished(run_id, "done"),
    ):
        writer.emit(event)
    assert [line["event"] for line in lines(tmp_path, "performance")] == ["PhaseFinished", "CallFinished"]
    assert [line["level"] for line in lines(tmp_path, "performance")] == ["warning", "info"]
    assert [line["event"] for line in lines(tmp_path, "audit")] == [
        "RunStarted",
        "BreakerChanged",
        "AlertChanged",
        "RunFinished",
    ]
    (error,) = lines(tmp_path, "error")
    assert (error["error_class"], error["run_id"], error["level"]) == ("ValueError", str(run_id), "error")


def test_every_record_has_the_common_fields_and_no_body(logs: Logs, tmp_path):
    LogWriter(None, logs).write(RunStarted(run_id=uuid4(), prompt="the prompt"))
    (line,) = lines(tmp_path, "audit")
    assert {"ts", "stream", "schema", "seq", "service", "version", "host", "pid", "event", "level", "run_id"} <= set(
        line
    )
    assert "the prompt" not in orjson.dumps(line).decode()


def test_debug_records_are_held_back_and_written_when_the_run_failed(logs: Logs, tmp_path):
    good, bad = uuid4(), uuid4()
    writer = LogWriter(None, logs)
    for run_id in (good, bad):
        writer.write(PhaseStarted(run_id=run_id, phase="reporting"))
        writer.write(retry(run_id))
    assert writer.statistics().held == 4
    writer.write(finished(good, "done"))
    assert lines(tmp_path, "debug") == []
    writer.write(finished(bad, "failed"))
    assert [line["event"] for line in lines(tmp_path, "debug")] == ["PhaseStarted", "RetryScheduled"]
    assert (writer.statistics().held, writer.statistics().let_go) == (0, 2)


def test_the_level_debug_writes_at_once(tmp_path):
    logs = configure_logs(tmp_path, level="debug")
    LogWriter(None, logs).write(retry(uuid4()))
    assert [line["event"] for line in lines(tmp_path, "debug")] == ["RetryScheduled"]
    logs.close()


def test_gauges_stay_out_of_the_performance_stream(logs: Logs, tmp_path):
    writer = LogWriter(None, logs)
    writer.write(MetricRecorded(metric="rss_bytes", value=1, labels={"gauge": True}))
    writer.write(MetricRecorded(metric="queue_wait_ms", value=1))
    assert [line["metric"] for line in lines(tmp_path, "performance")] == ["queue_wait_ms"]


def test_a_level_hides_what_is_below_it_but_never_the_audit_stream(tmp_path):
    logs = configure_logs(tmp_path, level="error")
    writer = LogWriter(None, logs)
    writer.write(PhaseFinished(phase="reporting", duration_ms=1))
    writer.write(RunStarted(prompt="p"))
    logs.audit("breaker.reset", actor="anna", target="gpt-eu")
    logs.logger("performance").info("hidden")
    assert lines(tmp_path, "performance") == []
    assert [line["event"] for line in lines(tmp_path, "audit")] == ["RunStarted", "breaker.reset"]
    logs.close()


def test_no_secret_reaches_a_file(logs: Logs, tmp_path):
    writer = LogWriter(None, logs)
    writer.write(
        ErrorOccurred(error_class="E", message=f"401 for {KEY}", context={"headers": {"Authorization": "x y"}})
    )
    logger = logs.logger("error")
    try:
        raise RuntimeError(f"refused {KEY}")
    except RuntimeError:
        logger.exception("call_failed", note=f"with {KEY}", api_key="plain")
    logs.audit("key.set", actor="anna", target=KEY)
    written = "".join(path.read_text() for path in tmp_path.iterdir())
    assert KEY not in written
    assert "x y" not in written
    assert "plain" not in written
    assert "RuntimeError: refused" in written


def test_a_logger_knows_the_scope_it_is_called_in(logs: Logs, tmp_path):
    run_id = uuid4()
    with current.entered(run_id=run_id, phase="reporting", agent_id="coder"):
        logs.logger("performance").info("ranked", items=3)
    (line,) = lines(tmp_path, "performance")
    assert (line["run_id"], line["phase"], line["agent"], line["items"]) == (str(run_id), "reporting", "coder", 3)


def test_files_rotate_and_never_pass_their_bound(tmp_path):
    logs = configure_logs(tmp_path, max_bytes=2_000, backups=2)
    for number in range(100):
        logs.audit("count", actor="test", target=str(number))
    logs.close()
    files = sorted(path.name for path in tmp_path.glob("audit*"))
    assert files == ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2"]
    assert all(path.stat().st_size <= 2_000 for path in tmp_path.iterdir())
    assert lines(tmp_path, "audit")[-1]["target"] == "99"
    assert logs.statistics().streams["audit"].written == 100


def test_an_endless_record_is_shortened_and_says_what_is_missing(logs: Logs, tmp_path):
    logs.audit("upload", actor="anna", target="x", body="words " * 20_000)
    (line,) = lines(tmp_path, "audit")
    assert line["shortened"] == ["body"]
    assert line["actor"] == "anna"


def test_what_json_cannot_hold_becomes_text(logs: Logs, tmp_path):
    logs.audit("odd", actor="\ud800", target=str(uuid4()), huge=1 << 80, thing=object)
    (line,) = lines(tmp_path, "audit")
    assert line["huge"] == str(1 << 80)


def test_standard_logging_is_captured_until_the_close(tmp_path):
    logs = configure_logs(tmp_path)
    logs.capture("omninode.test_capture")
    logger = logging.getLogger("omninode.test_capture")
    logger.error("lost %s", KEY)
    logger.warning("odd")
    logs.close()
    logger.propagate = False
    logger.error("after")
    assert [line["event"] for line in lines(tmp_path, "error")] == ["lost [REDACTED:ANTHROPIC_KEY]"]
    assert [line["event"] for line in lines(tmp_path, "debug")] == ["odd"]


def test_without_a_directory_records_go_to_the_terminal_only():
    terminal = io.StringIO()
    logs = configure_logs(None, stderr=terminal)
    logs.audit("seen", actor="a", target="b")
    assert orjson.loads(terminal.getvalue())["event"] == "seen"


@pytest.mark.fault
def test_a_directory_that_cannot_be_written_stops_the_start(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(ConfigurationError, match="another log directory"):
        configure_logs(blocked / "logs")
    with pytest.raises(InvalidArgumentError, match="log level 'loud'"):
        configure_logs(None, level="loud")


@pytest.mark.fault
def test_a_closed_stream_counts_what_it_loses(logs: Logs):
    logs.close()
    logs.audit("late", actor="a", target="b")
    assert logs.statistics().lost == 1


async def test_the_writer_listens_on_the_bus(logs: Logs, tmp_path):
    async with EventBus() as bus:
        writer = LogWriter(bus, logs)
        bus.emit(RunStarted(prompt="p"))
        await bus.drain()
        writer.close()
        bus.emit(RunStarted(prompt="p"))
        await bus.drain()
    assert len(lines(tmp_path, "audit")) == 1
