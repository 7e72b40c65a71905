"""The live stream over real HTTP, and what the server does when things around it break."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from tests.integration.server.conftest import PlainNode, Site, serving
from tests.integration.server.history import History

from omninode.core.clock import SystemClock
from omninode.core.errors import ConfigurationError
from omninode.core.events import CallFinished, ErrorOccurred, RunStarted
from omninode.core.ids import uuid7
from omninode.server import Access, run
from omninode.server.live import LiveFeed
from omninode.server.tail import Tail
from omninode.storage.database import Database
from omninode.telemetry.bus import EventBus

pytestmark = pytest.mark.integration


class Stream:
    """A viewer: reads messages off a plain socket."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self.last_id = ""
        self.entries: list[dict[str, Any]] = []

    async def message(self) -> dict[str, Any] | None:
        """The next live message; None when the stream ended."""
        while line := await self._reader.readline():
            text = line.decode().strip()
            if text.startswith("id: "):
                self.last_id = text[4:]
            if text.startswith("data: "):
                body = orjson.loads(text[6:])
                self.entries += body["entries"]
                return dict(body)
        return None

    async def until(self, title: str) -> dict[str, Any]:
        """The first entry with this title."""
        while True:
            for entry in self.entries:
                if entry["title"] == title:
                    return entry
            assert await self.message() is not None, f"the stream ended before {title!r}"


@asynccontextmanager
async def watching(site: Site, *, last_id: str | None = None) -> AsyncIterator[Stream]:
    host, port = site.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"GET /live HTTP/1.1\r\nHost: {host}\r\n" + (f"Last-Event-ID: {last_id}\r\n" if last_id else "") + "\r\n"
    writer.write(head.encode())
    try:
        async with asyncio.timeout(20):
            assert b"200" in await reader.readline()
            yield Stream(reader)
    finally:
        writer.close()


async def test_an_event_of_this_process_is_seen_live(site: Site) -> None:
    async with watching(site) as stream:
        run_id = uuid7()
        site.node.bus.emit(RunStarted(run_id=run_id, prompt="paint the shed", is_simulated=True))
        entry = await stream.until("paint the shed")
        assert entry["run_id"] == str(run_id)
        assert entry["simulated"] is True


async def test_a_stored_run_of_another_process_is_seen_live(site: Site, told: History) -> None:
    async with watching(site) as stream:
        newest = max(told.tables["runs"], key=lambda row: row["started_at"])
        entry = await stream.until(newest["prompt"])
        assert entry["kind"] in {"run_started", "run_finished"}


async def test_a_viewer_that_comes_back_gets_what_it_missed(site: Site) -> None:
    async with watching(site) as stream:
        site.node.bus.emit(ErrorOccurred(error_class="BeforeError", message="m"))
        await stream.until("BeforeError")
        left_at = stream.last_id
    site.node.bus.emit(ErrorOccurred(error_class="MeanwhileError", message="m"))
    await site.node.bus.drain()
    async with watching(site, last_id=left_at) as stream:
        await stream.until("MeanwhileError")
        assert "BeforeError" not in {entry["title"] for entry in stream.entries}


async def test_watching_costs_one_statement_a_second_however_many_watch(database: Database, told: History) -> None:
    feed = LiveFeed()
    tail = Tail(database, feed, clock=SystemClock())
    first = await tail.look()
    assert first > 20
    assert await tail.look() == 0
    feed.viewers = 0
    task = asyncio.ensure_future(tail.run())
    await asyncio.sleep(0)
    before = database.statistics()
    await asyncio.sleep(0.05)
    assert database.statistics() == before
    task.cancel()
    await asyncio.wait({task})


async def test_streams_end_when_the_server_stops(database: Database) -> None:
    async with EventBus() as bus:
        async with serving(PlainNode(database, bus)) as site:
            holder = watching(site)
            stream = await holder.__aenter__()
            await stream.message()
        while await stream.message() is not None:
            pass
        await holder.__aexit__(None, None, None)


@pytest.mark.fault
async def test_pages_live_on_without_a_database(told: History) -> None:
    dead = Database.open("postgresql://nobody@127.0.0.1:9/none", pool_size=1)
    await dead.start()
    async with EventBus() as bus, serving(PlainNode(dead, bus)) as site:
        bus.emit(
            CallFinished(role="worker", model="m", provider="p", deployment="still here", ok=True, duration_ms=5.0)
        )
        await bus.drain()
        for path in ("/", "/runs", f"/runs/{told.rich_run}", "/agents", "/reliability", "/errors", "/trends", "/cost"):
            answer = await site.get(path)
            assert answer.status == 200, path
            assert "The database does not answer." in answer.text, path
            assert 'id="feed"' in answer.text, path
            assert "Traceback" not in answer.text
        panel = await site.get("/api/now")
        assert panel.status == 503
        assert panel.json["error"]
        assert panel.json["live"][0]["title"] == "worker → still here"
        health = (await site.get("/health")).json
        assert health["status"] == "degraded"
        metrics = await site.get("/metrics")
        assert metrics.status == 200
        tries = re.search(r"^omninode_pool_failed_connects_total (\d+)$", metrics.text, re.MULTILINE)
        assert tries is not None
        assert int(tries[1]) > 0
        assert (await site.get("/settings")).status == 200
        async with watching(site) as stream:
            await stream.until("worker → still here")


async def test_a_node_without_a_database_serves_what_it_sees() -> None:
    async with EventBus() as bus, serving(PlainNode(None, bus)) as site:
        assert "runs without a database" in (await site.get("/")).text
        assert (await site.get("/health")).json["status"] == "degraded"


@pytest.mark.fault
async def test_a_taken_port_is_one_clear_line(database: Database) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with EventBus() as bus:
            with pytest.raises(ConfigurationError, match=f"port {port} on 127.0.0.1 is taken.*--port"):
                await run(PlainNode(database, bus), port=port)


async def test_another_address_needs_permission_even_with_an_access_of_its_own(database: Database) -> None:
    async with EventBus() as bus:
        with pytest.raises(ConfigurationError, match="allow"):
            await run(PlainNode(database, bus), host="0.0.0.0", port=0, access=Access())


async def test_a_foreign_host_header_is_refused(site: Site) -> None:
    answer = await site.get("/api/runs", Host="evil.example")
    assert answer.status == 421
    assert "default-src 'self'" in answer.headers["content-security-policy"]


_PROGRAM = """
import asyncio
from omninode.server import run
from omninode.telemetry.bus import EventBus

class Node:
    version, is_simulated, database = "1", False, None
    def __init__(self, bus): self.bus = bus
    def settings(self): return ()
    def breakers(self): return ()
    def sharing(self): return None
    def spool(self): return None
    def resources(self): return {}

async def main():
    async with EventBus() as bus:
        await run(Node(bus), port=0, on_ready=lambda url: print(url, flush=True))
    print("closed", flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_server_cleanly_with_a_viewer_connected(number: signal.Signals) -> None:
    command = [sys.executable, "-c", _PROGRAM]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        port = int(process.stdout.readline().rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port), timeout=10) as viewer:
            viewer.sendall(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"event-stream" in viewer.recv(4096)
            process.send_signal(number)
            assert process.wait(timeout=20) == 0
        assert process.stdout.read().strip() == "closed"
        assert process.stderr.read() == ""
