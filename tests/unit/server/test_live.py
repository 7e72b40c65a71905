"""The ring that every viewer reads, and what is said of events and rows."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from omninode.core.events import CallFinished, ErrorOccurred, MetricRecorded, RunFinished, RunStarted
from omninode.core.ids import uuid7
from omninode.server.entries import entry_of_event, entry_of_row
from omninode.server.live import LiveFeed
from omninode.server.stream import _messages
from omninode.testing.clock import FakeClock

pytestmark = pytest.mark.unit


def call(at_ns: int, **fields: Any) -> CallFinished:
    known: dict[str, Any] = {
        "role": "worker",
        "model": "m",
        "provider": "p",
        "deployment": "d",
        "ok": True,
        "duration_ms": 100.0,
    }
    return CallFinished(at_ns=at_ns, **{**known, **fields})


def entry(key: str) -> dict[str, Any]:
    return {"key": key, "kind": "error", "at_ms": 0, "run_id": None, "state": "failed", "title": key, "detail": ""}


def test_an_event_and_later_its_row_are_one_entry() -> None:
    feed, event = LiveFeed(), ErrorOccurred(error_class="SourceError", message="answered 503")
    feed.consume(event)
    row = {"key": str(event.id), "kind": "error", "ts": datetime.now(UTC), "run_id": None, "title": "SourceError"}
    row |= {"detail": "answered 503", "state": "failed", "ms": None}
    assert feed.add(entry_of_row(row)) is False
    assert feed.statistics().entries == 1


def test_a_run_is_one_entry_whether_it_comes_from_the_bus_or_the_store() -> None:
    run_id = uuid7()
    told = entry_of_event(RunStarted(run_id=run_id, prompt="do", is_simulated=True))
    row = {
        "key": f"run_started:{run_id}",
        "kind": "run_started",
        "ts": datetime.now(UTC),
        "run_id": run_id,
        "title": "do",
    }
    row |= {"detail": "", "state": "running", "ms": None, "simulated": True}
    assert told is not None
    assert told["key"] == entry_of_row(row)["key"]
    assert told["simulated"] is entry_of_row(row)["simulated"] is True


def test_measurements_are_not_shown_live() -> None:
    assert entry_of_event(MetricRecorded(metric="rss_bytes", value=1.0)) is None


def test_text_is_one_short_line_without_secrets() -> None:
    secret = "sk-proj-" + "a1B2c3D4e5F6g7H8" * 3
    told = entry_of_event(
        ErrorOccurred(error_class="AuthenticationError", message=f"key {secret}\nrefused " + "x" * 500)
    )
    assert told is not None
    assert secret not in told["detail"]
    assert "\n" not in told["detail"]
    assert len(told["detail"]) < 200


def test_a_slow_viewer_is_told_how_many_it_missed() -> None:
    feed = LiveFeed(capacity=10)
    for number in range(25):
        feed.add(entry(str(number)))
    entries, cursor, missed = feed.since(3)
    assert [one["key"] for one in entries] == [str(number) for number in range(15, 25)]
    assert (cursor, missed) == (25, 12)
    assert feed.since(cursor) == ([], 25, 0)
    assert feed.statistics().overwritten == 15


def test_a_viewer_resumes_where_it_left_off_but_not_across_a_restart() -> None:
    feed = LiveFeed()
    for number in range(100):
        feed.add(entry(str(number)))
    assert feed.start(f"{feed.boot}.97") == 97
    assert feed.start(f"{feed.boot}.9999") == 100
    assert feed.start("other.97") == feed.start(None) == feed.start("nonsense") == 40


def test_the_pulse_covers_the_last_minute() -> None:
    clock = FakeClock()
    feed = LiveFeed(clock=clock)
    begin = int(clock.now().timestamp() * 1e9)
    run_id = uuid7()
    feed.consume(RunStarted(at_ns=begin, run_id=run_id, prompt="do"))
    feed.consume(call(begin, duration_ms=100.0, cost_uusd=5))
    clock.advance(50)
    feed.consume(call(begin + 50_000_000_000, duration_ms=300.0, cost_uusd=None))
    feed.consume(call(begin + 50_000_000_000, duration_ms=900.0, ok=False))
    now = feed.pulse()
    assert (now.calls, now.failed, now.p50_ms, now.p95_ms) == (3, 1, 300, 900)
    assert (now.cost_uusd, now.unpriced, now.running) == (5, 1, 1)
    clock.advance(30)
    feed.consume(RunFinished(run_id=run_id, prompt="do", started_ns=begin, status="done", duration_ms=1.0))
    later = feed.pulse()
    assert (later.calls, later.cost_uusd, later.running) == (2, 0, 0)


async def test_a_stream_coalesces_and_ends_when_the_feed_closes() -> None:
    clock = FakeClock(auto_advance=True)
    feed = LiveFeed(clock=clock)
    stream = _messages(feed, None, clock=clock)
    assert await anext(stream) == b"retry: 2000\n\n"
    assert feed.viewers == 1
    for number in range(50):
        feed.add(entry(str(number)))
    identifier, name, data = (await anext(stream)).decode().strip().split("\n")
    assert identifier == f"id: {feed.boot}.50"
    assert name == "event: live"
    body = orjson.loads(data.removeprefix("data: "))
    assert len(body["entries"]) == 50
    assert body["pulse"]["calls"] == 0
    waiting = asyncio.ensure_future(anext(stream, None))
    await asyncio.sleep(0)
    feed.close()
    await waiting
    assert await anext(stream, None) is None
    assert clock.slept.count(0.25) >= 1
    assert feed.viewers == 0
