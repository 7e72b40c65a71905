"""The Anthropic protocol against a real server."""

from __future__ import annotations

import json

import pytest

from omninode.core.errors import (
    AuthenticationError,
    MalformedAnswerError,
    ProviderUnavailableError,
    RequestRejectedError,
    ThrottledError,
)
from omninode.core.usage import Usage
from omninode.providers.anthropic import AnthropicProvider
from omninode.providers.messages import ChatRequest, Message

pytestmark = pytest.mark.integration

KEY = "sk-ant-0123456789"
ASK = ChatRequest(
    messages=(Message(role="system", content="be brief"), Message(role="user", content="Grüße")),
    temperature=1.5,
    stop=("END",),
    seed=3,
    json=True,
)
ANSWER = {
    "model": "served",
    "content": [{"type": "thinking", "thinking": "…"}, {"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 5, "output_tokens": 2, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 1},
}
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"


def sse(*events: dict) -> bytes:
    return b"".join(f"event: {e['type']}\ndata: {json.dumps(e, ensure_ascii=False)}\n\n".encode() for e in events)


def text(piece: str) -> dict:
    return {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}


START = {"type": "message_start", "message": {"model": "served", "usage": {"input_tokens": 5, "output_tokens": 1}}}
END = {"type": "message_delta", "delta": {"stop_reason": "max_tokens"}, "usage": {"output_tokens": 9}}
STOP = {"type": "message_stop"}


def provider(server, http, **more) -> AnthropicProvider:
    return AnthropicProvider(server.url, KEY, http=http, name="test", **more)


async def collected(server, http):
    async with provider(server, http).stream(ASK, model="m") as stream:
        return [piece async for piece in stream], stream.answer


async def test_the_time_that_is_left_is_told_where_it_is_wanted(http, upstream, answers):
    server = await upstream(answers.respond(200, json.dumps(ANSWER).encode()))
    await provider(server, http, sends_deadline=True, timeout_s=7.0).complete(ASK, model="m")
    (received,) = server.requests
    assert int(received.headers["x-deadline-ms"]) <= 7_000
    assert received.headers["x-api-key"] == KEY


async def test_complete_sends_the_request_and_reads_the_answer(http, upstream, answers):
    server = await upstream(answers.respond(200, json.dumps(ANSWER).encode()))
    answer = await provider(server, http).complete(ASK, model="m")
    assert (answer.text, answer.model, answer.finish_reason) == ("hello", "served", "stop")
    assert answer.usage == Usage(input_tokens=9, output_tokens=2, cache_read_tokens=3)
    (received,) = server.requests
    assert (received.path, received.headers["x-api-key"]) == ("/v1/messages", KEY)
    assert received.headers["anthropic-version"] == "2023-06-01"
    assert received.json == {
        "model": "m",
        "max_tokens": 4096,
        "system": "be brief",
        "messages": [{"role": "user", "content": "Grüße"}],
        "temperature": 1.0,
        "stop_sequences": ["END"],
    }


async def test_an_address_without_its_version_is_the_same(http, upstream, answers):
    server = await upstream(answers.respond(200, b'{"data": [{"id": "a"}]}'))
    one = AnthropicProvider(server.url.removesuffix("/v1"), KEY, http=http)
    assert await one.models() == ("a",)
    assert server.requests[0].path == "/v1/models?limit=1000"


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, RequestRejectedError), (401, AuthenticationError), (500, ProviderUnavailableError), (529, ThrottledError)],
)
async def test_a_status_decides_the_error(http, upstream, answers, status, error):
    body = json.dumps({"type": "error", "error": {"type": "x", "message": f"bad {KEY}"}}).encode()
    server = await upstream(answers.respond(status, body))
    with pytest.raises(error, match="bad") as caught:
        await provider(server, http).complete(ASK, model="m")
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("body", [b"{}", b'{"content": []}', b"[]", b'{"content": "x", "stop_reason": "end_turn"}'])
async def test_an_answer_that_breaks_the_protocol_is_malformed(http, upstream, answers, body):
    server = await upstream(answers.respond(200, body))
    with pytest.raises(MalformedAnswerError):
        await provider(server, http).complete(ASK, model="m")


async def test_a_stream_yields_text_and_ends_with_the_answer(http, upstream, answers):
    body = sse(START, {"type": "ping"}, text("Grüß"), text(" dich"), END, STOP)
    script = [answers.raw(HEAD, body[:cut], body[cut:]) for cut in range(1, len(body), 13)]
    server = await upstream(*script)
    for _ in script:
        pieces, answer = await collected(server, http)
        assert pieces == ["Grüß", " dich"]
        assert (answer.model, answer.finish_reason) == ("served", "length")
        assert answer.usage == Usage(input_tokens=5, output_tokens=9)


@pytest.mark.parametrize(
    "body",
    [b"", sse(START, text("half")), sse(START, text("half"), END), sse(START, STOP), b"data: [\n\n", b"data: 1\n\n"],
    ids=["empty", "cut", "no stop", "no reason", "no JSON", "no object"],
)
async def test_a_stream_without_its_end_is_malformed(http, upstream, answers, body):
    server = await upstream(answers.raw(HEAD, body))
    with pytest.raises(MalformedAnswerError):
        await collected(server, http)


async def test_an_error_inside_a_stream_is_raised_as_what_it_is(http, upstream, answers):
    failure = {"type": "error", "error": {"type": "overloaded_error", "message": f"busy {KEY}"}}
    server = await upstream(answers.raw(HEAD, sse(START, text("half"), failure)))
    with pytest.raises(ThrottledError, match="in the middle of the stream: answered 529 ") as caught:
        await collected(server, http)
    assert KEY not in str(caught.value)


async def test_the_key_is_in_no_repr(http, upstream, answers):
    assert KEY not in repr(provider(await upstream(answers.hang), http))
