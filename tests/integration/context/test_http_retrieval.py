"""Retrieval over real HTTP, from a server on loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from omninode.context.gather import ContextGatherer
from omninode.context.source import Traits
from omninode.context.sources.http import HttpRetrieval, items_of
from omninode.core.deadline import Deadline
from omninode.core.errors import InvalidArgumentError, SourceError
from omninode.core.events import BreakerChanged
from omninode.providers.http import HttpClient
from omninode.resilience.circuit import CircuitBreakerConfig
from omninode.resilience.policy import Policy
from omninode.resilience.schedule import RetryConfig
from omninode.testing.sink import RecordingSink

pytestmark = pytest.mark.integration


class Server:
    """Answers each request with what `answer(number, body)` returns: a status and a JSON value, or raw bytes."""

    def __init__(self, answer: Callable) -> None:
        self._answer = answer
        self.bodies: list[dict] = []
        self.headers: list[str] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/search"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next(
                    int(line.split(":")[1]) for line in head.lower().split("\r\n") if "content-length" in line
                )
                self.headers.append(head)
                self.bodies.append(json.loads(await reader.readexactly(length)))
                answer = self._answer(len(self.bodies), self.bodies[-1])
                status, value = await answer if asyncio.iscoroutine(answer) else answer
                data = value if isinstance(value, bytes) else json.dumps(value).encode()
                writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: {len(data)}\r\n\r\n".encode() + data)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(answer: Callable) -> AsyncIterator[Server]:
    server = Server(answer)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    async with HttpClient() as client:
        yield client


def found(*texts: str):
    return lambda number, body: (200, {"results": [{"text": text} for text in texts]})


def quick(name: str, **breaker) -> Policy:
    return Policy(
        name,
        retry=RetryConfig(max_retries=2, base_delay=0.001),
        breaker=CircuitBreakerConfig(**breaker) if breaker else None,
    )


async def test_results_become_items_in_the_order_of_the_server(http: HttpClient) -> None:
    results = [
        {"id": 7, "title": "First", "content": "one", "url": "http://x/1", "score": 0.9},
        {"text": "two", "score": "high", "metadata": {"title": "Second", "url": "http://x/2"}},
        "three",
    ]
    async with serving(lambda number, body: (200, {"results": results})) as server:
        source = HttpRetrieval(server.url, http, headers={"authorization": "Bearer k"})
        gathered = await ContextGatherer([source]).gather_global_context("p", ["query one"], 5)
    assert server.bodies == [{"query": "query one", "max_results": 5}]
    assert "authorization: Bearer k" in server.headers[0] or "Authorization: Bearer k" in server.headers[0]
    items = gathered.items_by_rank
    assert [(item.content, item.title, item.url) for item in items] == [
        ("one", "First", "http://x/1"),
        ("two", "Second", "http://x/2"),
        ("three", "http_retrieval result 3", None),
    ]
    assert items[0].id == "http_retrieval:7"
    assert {item.trust for item in items} == {"remote"}
    assert [item.metadata["source_score"] for item in items] == [0.9, 0.0, 0.0]


@pytest.mark.fault
async def test_passing_fault_is_retried(http: HttpClient) -> None:
    async with serving(lambda n, body: (503, {}) if n < 3 else (200, {"results": ["found"]})) as server:
        source = HttpRetrieval(server.url, http, policy=quick("s"))
        gathered = await ContextGatherer([source]).gather_global_context("p")
    assert [item.content for item in gathered.values()] == ["found"]
    assert len(server.bodies) == 3


@pytest.mark.fault
async def test_breaker_opens_and_the_source_is_told_as_open_without_being_called(http: HttpClient) -> None:
    sink = RecordingSink()
    async with serving(lambda n, body: (500, {"error": "broken"})) as server:
        source = HttpRetrieval(
            server.url,
            http,
            name="wiki",
            policy=Policy("wiki", breaker=CircuitBreakerConfig(failure_threshold=2), sink=sink),
        )
        gatherer = ContextGatherer([source])
        told = [(await gatherer.gather_global_context("p")).sources[0].status for _ in range(4)]
    assert told == ["failed", "failed", "open", "open"]
    assert len(server.bodies) == 2
    assert [event.after for event in sink.of(BreakerChanged)] == ["open"]


@pytest.mark.fault
async def test_server_that_hangs_is_late_and_the_others_are_served(http: HttpClient) -> None:
    async def hang():
        await asyncio.Event().wait()

    async with serving(lambda n, body: hang()) as hanging, serving(found("good")) as good:
        sources = [
            HttpRetrieval(hanging.url, http, name="hanging"),
            HttpRetrieval(good.url, http, name="good"),
        ]
        gathered = await ContextGatherer(sources).gather_global_context("p", deadline=Deadline.after(0.3))
        assert [report.status for report in gathered.sources] == ["late", "ok"]
        assert [item.content for item in gathered.values()] == ["good"]
        assert http.statistics().open_requests == 0


@pytest.mark.fault
async def test_unreachable_server_fails_its_source_only(http: HttpClient) -> None:
    async with serving(found("good")) as server:
        port = server.port
        sources = [HttpRetrieval("http://127.0.0.1:1/x", http, name="gone", policy=quick("gone"))]
        sources.append(HttpRetrieval(f"http://127.0.0.1:{port}/", http, name="good"))
        gathered = await ContextGatherer(sources).gather_global_context("p")
    assert [report.status for report in gathered.sources] == ["failed", "ok"]
    assert "gone" in (gathered.sources[0].error or "")


@pytest.mark.fault
@pytest.mark.parametrize("answer", [b"<html>", {"error": "no"}, {"results": "none"}, 7, None])
async def test_answer_without_a_list_of_results_fails(http: HttpClient, answer: object) -> None:
    async with serving(lambda n, body: (200, answer)) as server:
        source = HttpRetrieval(server.url, http, policy=quick("s"))
        gathered = await ContextGatherer([source]).gather_global_context("p")
    assert [report.status for report in gathered.sources] == ["failed"]


@pytest.mark.fault
async def test_key_never_shows_in_the_error(http: HttpClient) -> None:
    async with serving(lambda n, body: (401, {"error": "bad key sk-very-secret"})) as server:
        source = HttpRetrieval(server.url, http, headers={"authorization": "Bearer sk-very-secret"}, policy=quick("s"))
        gathered = await ContextGatherer([source]).gather_global_context("p")
    (report,) = gathered.sources
    assert report.status == "failed"
    assert "sk-very-secret" not in (report.error or "")


async def test_only_the_query_in_hand_is_repeated_results_are_kept(http: HttpClient) -> None:
    async with serving(found("x")) as server:
        source = HttpRetrieval(server.url, http)
        await ContextGatherer([source]).gather_global_context("p", ["a b", "A  B", "c"])
    assert sorted(body["query"] for body in server.bodies) == ["a b", "c"]


@pytest.mark.performance
async def test_five_sources_are_asked_at_the_same_time(http: HttpClient) -> None:
    barrier = asyncio.Barrier(5)

    async def meet():
        await barrier.wait()
        return 200, {"results": ["met"]}

    async with serving(lambda n, body: meet()) as server:
        sources = [HttpRetrieval(server.url, http, name=f"s{n}") for n in range(5)]
        gathered = await ContextGatherer(sources).gather_global_context("p")
    assert [report.status for report in gathered.sources] == ["ok"] * 5


@pytest.mark.parametrize("name", ["results", "documents", "hits", "items", "matches", "data"])
def test_list_of_results_is_found_under_its_usual_names(name: str) -> None:
    (item,) = items_of({name: [{"page_content": "x"}]}, source="s", context_type="t", limit=5)
    assert item.content == "x"


def test_results_without_text_are_passed_over_and_do_not_count() -> None:
    results = [{}, {"text": " "}, {"text": 5}, None, {"_source": {"body": "a"}}, {"document": "b"}, "c"]
    items = items_of({"results": results}, source="s", context_type="t", limit=2)
    assert [item.content for item in items] == ["a", "b"]


def test_address_that_is_no_http_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="file:///etc/passwd"):
        HttpRetrieval("file:///etc/passwd", HttpClient(), traits=Traits())


def test_answer_without_results_says_what_is_expected() -> None:
    with pytest.raises(SourceError, match="results"):
        items_of({}, source="s", context_type="t", limit=1)
