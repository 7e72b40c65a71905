"""From rows to bars: where each begins, what it is inside of, and what the run's length is made of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from omninode.core.ids import uuid7
from omninode.server.timeline import build

pytestmark = pytest.mark.unit

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
RUN = {"started_at": BEGIN, "duration_ms": 1000}


def at(ms: float) -> datetime:
    return BEGIN + timedelta(milliseconds=ms)


def phase(name: str, start: float, end: float, attempt: int = 1) -> dict[str, Any]:
    labels = {"attempt": attempt}
    return {
        "id": uuid7(),
        "ts": at(end),
        "phase": name,
        "metric": "phase_duration_ms",
        "value": end - start,
        "ok": True,
        "labels": labels,
    }


def task(name: str, start: float, end: float) -> dict[str, Any]:
    known = {"agent_id": "coder", "status": "ok", "wait_ms": 0, "error": None, "description": "do"}
    return {"id": uuid7(), "ts": at(end), "task_id": name, "duration_ms": end - start, **known}


def call(start: float, end: float, **fields: Any) -> dict[str, Any]:
    known = {
        "id": uuid7(),
        "phase": None,
        "task_id": None,
        "role": "worker",
        "deployment": "d",
        "model": "m",
        "ok": True,
    }
    known |= {
        "attempts": 1,
        "tokens_in": 1,
        "tokens_out": 2,
        "cost_uusd": None,
        "cache": "off",
        "degraded": None,
        "error_class": None,
    }
    return {**known, "ts": at(end), "duration_ms": end - start, **fields}


def test_calls_lie_in_their_task_and_tasks_in_their_phase() -> None:
    told = build(
        RUN,
        metrics=[phase("parallel_execution", 100, 900)],
        tasks=[task("t1", 110, 500), task("t2", 110, 890)],
        calls=[call(120, 490, task_id="t1"), call(120, 880, task_id="t2")],
        votes=[],
    )
    shape = [(span["depth"], span["name"]) for span in told["spans"]]
    assert shape == [
        (0, "parallel_execution"),
        (1, "t1 · coder"),
        (2, "worker → d"),
        (1, "t2 · coder"),
        (2, "worker → d"),
    ]
    assert told["spans"][1]["start_ms"] == pytest.approx(110)
    assert told["speed_up"]["factor"] == pytest.approx((390 + 780) / 780)
    assert told["speed_up"]["ideal"] == pytest.approx((390 + 780) / 780)


def test_the_critical_path_is_what_the_length_is_made_of() -> None:
    told = build(
        {**RUN, "duration_ms": 900},
        metrics=[phase("context_gathering", 0, 100), phase("parallel_execution", 100, 900)],
        tasks=[task("short", 110, 300), task("long", 110, 600), task("last", 601, 895)],
        calls=[],
        votes=[],
    )
    critical = {span["name"] for span in told["spans"] if span["is_critical"]}
    assert critical == {"context_gathering", "parallel_execution", "long · coder", "last · coder"}


def test_a_call_belongs_to_the_repetition_of_its_phase_that_was_going_on() -> None:
    first, second = phase("quorum_validation", 100, 300), phase("quorum_validation", 500, 700, attempt=2)
    votes = [{"deployment": "d", "decision": "PASS"}]
    told = build(
        RUN,
        metrics=[first, second],
        tasks=[],
        calls=[call(510, 690, phase="quorum_validation", role="voter")],
        votes=votes,
    )
    vote = told["spans"][-1]
    assert vote["parent"] == str(second["id"])
    assert vote["kind"] == "vote"
    assert "votes PASS" in vote["detail"]
    assert told["spans"][1]["detail"] == "attempt 2"


def test_a_stopped_call_is_no_failure() -> None:
    told = build(RUN, metrics=[], tasks=[], calls=[call(0, 10, ok=False, error_class="CancelledError")], votes=[])
    assert told["spans"][0]["state"] == "stopped"
    assert "not needed any more" in told["spans"][0]["detail"]
    assert build(RUN, metrics=[], tasks=[], calls=[call(0, 9, ok=False)], votes=[])["spans"][0]["state"] == "failed"


def test_nobody_waited_for_a_stopped_call() -> None:
    told = build(
        {**RUN, "duration_ms": 500},
        metrics=[phase("quorum_validation", 0, 500)],
        tasks=[],
        calls=[
            call(0, 490, phase="quorum_validation", role="voter", deployment="needed"),
            call(0, 499, phase="quorum_validation", role="voter", ok=False, error_class="CancelledError"),
        ],
        votes=[],
    )
    assert [span["name"] for span in told["spans"] if span["is_critical"]] == ["quorum_validation", "voter → needed"]


def test_a_run_without_rows_is_an_empty_timeline() -> None:
    told = build({"started_at": BEGIN, "duration_ms": None}, metrics=[], tasks=[], calls=[], votes=[])
    assert told == {"length_ms": 0, "spans": [], "speed_up": None}


def test_a_late_clock_never_puts_a_span_before_the_run() -> None:
    told = build(RUN, metrics=[phase("input_validation", -5, 3)], tasks=[], calls=[], votes=[])
    assert told["spans"][0]["start_ms"] == 0.0
