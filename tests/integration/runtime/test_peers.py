"""Two processes, one database: what one finds out about a target, the other hears of."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

import omninode
from omninode import CircuitBreakerConfig, CircuitState, call_with_breaker
from omninode.core.errors import BreakerOpenError
from omninode.core.events import BreakerChanged, MetricRecorded
from omninode.runtime.runtime import Runtime
from omninode.storage.database import Database
from omninode.testing.sink import RecordingSink

pytestmark = [pytest.mark.integration, pytest.mark.fault]

CONFIG = CircuitBreakerConfig(failure_threshold=6, timeout_seconds=20.0, jitter=0.0)

# One order a line; each is answered by the state of the breaker, once it has been stored and told.
PEER = """
import asyncio, sys
import omninode
from omninode import CircuitBreakerConfig, call_with_breaker
from omninode.core.errors import BreakerOpenError

CONFIG = CircuitBreakerConfig(failure_threshold=6, timeout_seconds=20.0, jitter=0.0)

async def main():
    async with omninode.open(needs_models=False) as node:
        async def connect(port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
        breaker = node.breakers.get("payments", CONFIG)
        print("ready", flush=True)
        while line := (await asyncio.to_thread(sys.stdin.readline)).split():
            if line[0] == "close":
                breaker.close()
            for _ in range(int(line[1]) if line[0] == "call" else 0):
                try:
                    await call_with_breaker("payments", CONFIG, connect, int(line[2]))
                except (OSError, BreakerOpenError):
                    pass
            print(breaker.state.value, breaker.statistics().failures, flush=True)

asyncio.run(main())
"""


class Peer:
    """The other process."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PEER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    async def answer(self) -> str:
        async with asyncio.timeout(60):
            return (await asyncio.to_thread(self.process.stdout.readline)).strip()

    async def asked(self, order: str) -> str:
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()
        return await self.answer()

    def end(self) -> int:
        self.process.stdin.close()
        return self.process.wait(timeout=60)


@pytest.fixture
async def environment(database: Database, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with database.acquire() as session:
        await session.driver.execute("TRUNCATE circuit_breaker_state, performance_metrics")
    address = urlsplit(database_url)
    monkeypatch.setenv("POSTGRES_HOST", parse_qs(address.query)["host"][0])
    monkeypatch.setenv("POSTGRES_USER", address.username or "")
    monkeypatch.setenv("POSTGRES_DB", address.path.removeprefix("/"))
    monkeypatch.setenv("OMNINODE_DATA_DIR", str(tmp_path / "home"))
    monkeypatch.setenv("OMNINODE_OLLAMA_URL", "http://127.0.0.1:9")
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY", "OMNINODE_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
async def node(environment: None) -> AsyncIterator[Runtime]:
    async with omninode.open(needs_models=False) as opened:
        await until(lambda: opened.peers.statistics().mode == "listening")
        yield opened


@pytest.fixture
def sink(node: Runtime) -> Iterator[RecordingSink]:
    recording = RecordingSink()
    with node.sink.attached(recording):
        yield recording


@pytest.fixture
async def peer(node: Runtime) -> AsyncIterator[Peer]:
    started = Peer(dict(os.environ))
    try:
        assert await started.answer() == "ready"
        yield started
        assert await asyncio.to_thread(started.end) == 0
    finally:
        started.process.kill()
        started.process.wait()
        started.process.stdout.close()


async def until(is_so, *, within_s: float = 60.0) -> None:
    """Wait for another process to come so far; the limit is for when it never does."""
    async with asyncio.timeout(within_s):
        while not is_so():
            await asyncio.sleep(0.02)


@pytest.fixture
def dead_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
async def live_port() -> AsyncIterator[int]:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def reach(port: int) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()


async def failures_to_open(node: Runtime, port: int) -> int:
    for count in range(1, 20):
        with pytest.raises((OSError, BreakerOpenError)):
            await call_with_breaker("payments", CONFIG, reach, port)
        if node.breakers.get("payments").state is CircuitState.OPEN:
            return count
    raise AssertionError("it never opened")


async def test_when_a_target_dies_for_one_process_another_needs_fewer_failures_and_no_less_than_one(
    node: Runtime, sink: RecordingSink, peer: Peer, dead_port: int, live_port: int
) -> None:
    breaker = node.breakers.get("payments", CONFIG)
    assert await peer.asked(f"call 6 {dead_port}") == "open 6"
    await until(lambda: node.peers.statistics().sensitised == 1)
    assert (await node.database.fetchrow("schema.status"))["sharing"] == 2

    # The peer may be cut off where we are not: it stays closed for as long as nothing fails here.
    for _ in range(50):
        await call_with_breaker("payments", CONFIG, reach, live_port)
    assert breaker.state is CircuitState.CLOSED
    assert sink.of(BreakerChanged) == []

    assert await failures_to_open(node, dead_port) == 3
    assert "open in another process" in breaker.statistics().reason
    assert [(event.before, event.after) for event in sink.of(BreakerChanged)] == [("closed", "open")]
    (told,) = [event for event in sink.of(MetricRecorded) if event.metric == "breaker_open_at_peer_s"]
    assert told.labels["breaker"] == "payments"
    assert await node.settle() == ()
    async with node.database.acquire() as session:
        rows = await session.driver.fetch(
            "SELECT labels FROM performance_metrics WHERE metric = 'breaker_open_at_peer_s'"
        )
    assert len(rows) == 1


async def test_when_the_peer_closes_the_whole_evidence_is_needed_again(
    node: Runtime, peer: Peer, dead_port: int
) -> None:
    node.breakers.get("payments", CONFIG)
    assert await peer.asked(f"call 6 {dead_port}") == "open 6"
    await until(lambda: node.peers.statistics().sensitised == 1)
    assert await peer.asked("close") == "closed 6"
    await until(lambda: node.peers.statistics().heard == 2)
    assert await failures_to_open(node, dead_port) == 6


async def test_who_starts_while_a_peer_is_open_starts_closed_and_wary(
    node: Runtime, peer: Peer, dead_port: int
) -> None:
    assert await peer.asked(f"call 6 {dead_port}") == "open 6"
    await until(lambda: node.peers.statistics().heard == 1)
    async with omninode.open(needs_models=False) as later:
        await until(lambda: later.peers.statistics().heard == 1)
        assert later.breakers.get("payments", CONFIG).state is CircuitState.CLOSED
        assert await failures_to_open(later, dead_port) == 3


async def test_closing_a_runtime_ends_its_listening(environment: None) -> None:
    before = asyncio.all_tasks()
    async with omninode.open(needs_models=False) as opened:
        assert opened.peers.statistics().mode in {"away", "listening"}
    assert opened.peers.statistics().mode == "closed"
    assert asyncio.all_tasks() == before
