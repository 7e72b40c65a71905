"""How numbers are written, which stretch is meant, and that many viewers ask once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from omninode.core.events import ErrorOccurred
from omninode.server import BreakerView, SharingView, SpoolView
from omninode.server.exposition import exposition
from omninode.server.live import LiveFeed
from omninode.server.panels import PanelCache
from omninode.server.render import Renderer
from omninode.server.window import Window
from omninode.storage.database import Database
from omninode.telemetry.bus import EventBus
from omninode.testing.clock import FakeClock

pytestmark = pytest.mark.unit


def written(filter_name: str, *args: object) -> str:
    return str(Renderer()._environment.filters[filter_name](*args))


def test_durations_read_as_people_say_them() -> None:
    said = [written("duration", ms) for ms in (None, 0, 0.52, 999, 1234, 12_345, 61_000, 120_000, 3_600_000, 5_400_000)]
    assert said == ["–", "0 ms", "0.5 ms", "999 ms", "1.23 s", "12.3 s", "1 min 01 s", "2 min", "1 h", "1 h 30 min"]  # noqa: RUF001


def test_money_never_hides_small_sums_nor_calls_the_unknown_nothing() -> None:
    said = [written("usd", micro) for micro in (None, 0, 12, 4_200, 1_500_000)]
    assert said == ["–", "$0", "$0.000012", "$0.0042", "$1.50"]  # noqa: RUF001


def test_measures_carry_the_unit_of_their_name() -> None:
    said = [written("metric", *one) for one in ((12.34, "cpu_percent"), (2**30, "rss_bytes"), (250.0, "loop_lag_ms"))]
    assert said == ["12.3 %", "1.00 GiB", "250 ms"]


def test_what_was_stored_is_escaped() -> None:
    html = Renderer()._environment.from_string("{{ text }}").render(text="<script>alert(1)</script>")
    assert html == "&lt;script&gt;alert(1)&lt;/script&gt;"


def test_an_asset_is_asked_for_by_its_content() -> None:
    url = Renderer().asset("app.css")
    assert url.startswith("/static/app.css?v=")
    assert len(url.partition("v=")[2]) == 12


def test_a_window_holds_whole_buckets_up_to_the_one_that_goes_on() -> None:
    moment = datetime(2026, 3, 1, 12, 34, 56, tzinfo=UTC)
    window = Window.parse("1h", now=moment)
    assert window.until == datetime(2026, 3, 1, 12, 35, tzinfo=UTC)
    assert window.since == datetime(2026, 3, 1, 11, 35, tzinfo=UTC)
    assert len(window.buckets()) == 60
    assert Window.parse("1 year", now=moment).key == "24h"


async def test_many_viewers_ask_the_database_once() -> None:
    clock, asked = FakeClock(), 0

    async def load() -> dict[str, object]:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return {"n": asked}

    cache = PanelCache(clock=clock)
    async with asyncio.TaskGroup() as group:
        told = [group.create_task(cache.get("now", load)) for _ in range(20)]
    assert {task.result()["n"] for task in told} == {1}
    clock.advance(2.1)
    assert (await cache.get("now", load))["n"] == 2


async def test_an_error_is_not_kept() -> None:
    cache = PanelCache(clock=FakeClock())

    async def fail() -> dict[str, object]:
        raise OSError("away")

    async def load() -> dict[str, object]:
        return {"n": 1}

    with pytest.raises(OSError, match="away"):
        await cache.get("now", fail)
    assert await cache.get("now", load) == {"n": 1}


class Node:
    """A node, without a database unless it is given one."""

    version, is_simulated = "1.2.3", True

    def __init__(self, database: Database | None = None) -> None:
        self.database = database
        self.bus = EventBus(capacity=1)

    def settings(self) -> tuple[()]:
        return ()

    def breakers(self) -> tuple[BreakerView, ...]:
        return (BreakerView(name='a"b\\c', state="open"),)

    def sharing(self) -> SharingView:
        return SharingView(mode="away", heard=4)

    def spool(self) -> SpoolView:
        return SpoolView(accepted=5, written=3, waiting=2, only_in_memory=1, dropped={"runs": 4}, disk_error="full")

    def resources(self) -> dict[str, float]:
        return {"cpu_percent": 12.5, "rss_bytes.p95": 3.0}


def test_metrics_are_told_in_the_prometheus_format() -> None:
    node, feed = Node(), LiveFeed()
    for _ in range(3):
        node.bus.emit(ErrorOccurred(error_class="E", message="m"))
    text = exposition(node, feed)
    lines = text.splitlines()
    assert 'omninode_info{version="1.2.3"} 1' in lines
    assert 'omninode_breaker_state{breaker="a\\"b\\\\c",state="open"} 1' in lines
    assert 'omninode_breaker_state{breaker="a\\"b\\\\c",state="closed"} 0' in lines
    assert 'omninode_spool_rows_total{fate="written"} 3' in lines
    assert "omninode_spool_waiting_rows 2" in lines
    assert "omninode_breaker_sharing 0" in lines
    assert "omninode_breaker_news_total 4" in lines
    assert "omninode_spool_only_in_memory_rows 1" in lines
    assert 'omninode_spool_dropped_rows_total{table="runs"} 4' in lines
    assert "omninode_resource_cpu_percent 12.5" in lines
    assert "omninode_resource_rss_bytes_p95 3" in lines
    assert 'omninode_events_dropped_total{class="ErrorOccurred"} 2' in lines
    assert text.endswith("\n")
    helped = {line.split()[2] for line in lines if line.startswith("# HELP")}
    assert {line.split("{")[0].split()[0] for line in lines if not line.startswith("#")} <= helped


async def test_metrics_tell_of_each_lane_of_the_pool() -> None:
    lines = exposition(Node(Database.open("postgresql://u@h/d", pool_size=10)), LiveFeed()).splitlines()
    assert [line for line in lines if line.startswith("omninode_pool_places")] == [
        'omninode_pool_places{lane="ingest"} 2',
        'omninode_pool_places{lane="control"} 1',
        'omninode_pool_places{lane="query"} 7',
    ]
    assert 'omninode_pool_timeouts_total{lane="ingest"} 0' in lines
    assert sum(line.startswith('omninode_pool_wait_seconds{lane="query",quantile=') for line in lines) == 2


def test_how_long_ago() -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    said = [written("ago", moment - timedelta(seconds=seconds), moment) for seconds in (5, 300, 7200, 864_000)]
    assert said == ["5 s ago", "5 min ago", "2 h ago", "10 d ago"]
    assert written("ago", None, moment) == "never"
