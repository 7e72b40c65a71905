"""The OpenAI protocol against a real server."""

from __future__ import annotations

import json

import pytest

from omninode.core import current
from omninode.core.deadline import Deadline
from omninode.core.errors import (
    AuthenticationError,
    MalformedAnswerError,
    ProviderUnavailableError,
    RequestRejectedError,
    ThrottledError,
)
from omninode.core.usage import Usage
from omninode.providers.messages import ChatRequest, Message
from omninode.providers.openai import OpenAIProvider

pytestmark = pytest.mark.integration

KEY = "sk-test-0123456789"
ASK = ChatRequest(messages=(Message(role="system", content="be brief"), Message(role="user", content="Grüße")))


def sse(*events: object, done: bool = True) -> bytes:
    lines = [b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\n\n" for event in events]
    return b"".join(lines) + (b"data: [DONE]\n\n" if done else b"")


def delta(text: str, finish: str | None = None) -> dict:
    return {"model": "m-served", "choices": [{"delta": {"content": text}, "finish_reason": finish}]}


def head(status: int = 200) -> bytes:
    return f"HTTP/1.1 {status} OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n".encode()


USAGE = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}
STREAM = sse(delta("Grüß"), delta(" dich ✓"), delta("", "stop"), USAGE)


def provider(server, http, **more) -> OpenAIProvider:
    return OpenAIProvider(server.url, KEY, http=http, name="test", **more)


async def collected(server, http) -> tuple[list[str], object]:
    async with provider(server, http).stream(ASK, model="m") as stream:
        texts = [text async for text in stream]
        return texts, stream.answer


async def test_the_time_that_is_left_is_told_only_where_it_is_wanted(http, upstream, answers):
    server = await upstream(answers.chat("hello"), answers.chat("hello"), answers.chat("hello"))
    await provider(server, http).complete(ASK, model="m")
    await provider(server, http, sends_deadline=True, timeout_s=30.0).complete(ASK, model="m")
    with current.entered(deadline=Deadline.after(5.0)):
        await provider(server, http, sends_deadline=True, timeout_s=30.0).complete(ASK, model="m")
    sent = [request.headers.get("x-deadline-ms") for request in server.requests]
    assert sent[0] is None
    assert 25_000 < int(sent[1]) <= 30_000
    assert 1_000 < int(sent[2]) <= 5_000


async def test_complete_sends_the_request_and_reads_the_answer(http, upstream, answers):
    server = await upstream(answers.chat("hello"))
    request = ChatRequest(messages=ASK.messages, max_tokens=50, json=True, stop=("END",), seed=4)
    answer = await provider(server, http).complete(request, model="m")
    assert (answer.text, answer.model, answer.finish_reason) == ("hello", "m-served", "stop")
    assert answer.usage == Usage(input_tokens=10, output_tokens=5)
    (received,) = server.requests
    assert received.path == "/v1/chat/completions"
    assert received.headers["authorization"] == f"Bearer {KEY}"
    assert received.json == {
        "model": "m",
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "Grüße"}],
        "temperature": 0.0,
        "max_tokens": 50,
        "response_format": {"type": "json_object"},
        "stop": ["END"],
        "seed": 4,
    }


async def test_missing_usage_is_estimated_and_says_so(http, upstream, answers):
    server = await upstream(answers.chat("four", usage=None))
    answer = await provider(server, http).complete(ASK, model="m")
    assert answer.usage == Usage(input_tokens=14, output_tokens=2, is_estimated=True)


@pytest.mark.parametrize(
    ("status", "error", "retryable"),
    [
        (400, RequestRejectedError, False),
        (401, AuthenticationError, False),
        (403, AuthenticationError, False),
        (404, RequestRejectedError, False),
        (429, ThrottledError, True),
        (500, ProviderUnavailableError, True),
        (503, ThrottledError, True),
        (529, ThrottledError, True),
    ],
)
async def test_a_status_decides_the_error(http, upstream, answers, status, error, retryable):
    body = json.dumps({"error": {"message": f"bad key {KEY}", "code": "x"}}).encode()
    server = await upstream(answers.respond(status, body, headers={"retry-after": "7"}))
    with pytest.raises(error) as caught:
        await provider(server, http).complete(ASK, model="m")
    assert (caught.value.status, caught.value.retryable) == (status, retryable)
    assert caught.value.message.startswith("test: chat with model 'm': answered")
    assert KEY not in str(caught.value) + repr(caught.value)
    assert "[redacted]" in str(caught.value)
    if error is ThrottledError:
        assert caught.value.retry_after_s == 7


@pytest.mark.parametrize(
    "body",
    [b"[]", b"{}", b'{"choices": []}', b'{"choices": [{"message": {"content": "cut"}}]}', b'{"choices": [{}]}', b"no"],
)
async def test_an_answer_that_breaks_the_protocol_is_malformed(http, upstream, answers, body):
    server = await upstream(answers.respond(200, body))
    with pytest.raises(MalformedAnswerError):
        await provider(server, http).complete(ASK, model="m")


async def test_models_are_listed(http, upstream, answers):
    server = await upstream(answers.respond(200, b'{"data": [{"id": "a"}, {"id": "b"}]}'))
    assert await provider(server, http).models() == ("a", "b")
    assert server.requests[0].path == "/v1/models"


async def test_a_stream_yields_text_and_ends_with_the_answer(http, upstream, answers):
    server = await upstream(answers.raw(head(), b": keep-alive\n\n", STREAM))
    texts, answer = await collected(server, http)
    assert texts == ["Grüß", " dich ✓"]
    assert (answer.text, answer.model, answer.finish_reason) == ("Grüß dich ✓", "m-served", "stop")
    assert answer.usage == Usage(input_tokens=7, output_tokens=3)
    assert 0 < answer.ttft_s <= answer.duration_s
    assert server.requests[0].json["stream_options"] == {"include_usage": True}


async def test_a_stream_survives_a_cut_between_any_two_bytes(http, upstream, answers):
    script = [answers.raw(head(), STREAM[:cut], STREAM[cut:]) for cut in range(1, len(STREAM), 7)]
    server = await upstream(*script)
    for _ in script:
        texts, answer = await collected(server, http)
        assert "".join(texts) == "Grüß dich ✓"
        assert answer.usage.output_tokens == 3


@pytest.mark.parametrize(
    "body",
    [
        b"",
        sse(delta("half"), done=False),
        sse(delta("half")),
        sse(delta("whole", "stop"), done=False),
        sse(delta("half"))[:-1],
        b"data: {nonsense\n\n",
    ],
    ids=["empty", "cut", "no finish reason", "no DONE", "cut in DONE", "no JSON"],
)
async def test_a_stream_without_its_end_is_malformed(http, upstream, answers, body):
    server = await upstream(answers.raw(head(), body))
    with pytest.raises(MalformedAnswerError):
        await collected(server, http)


async def test_an_error_inside_a_stream_is_raised_as_what_it_is(http, upstream, answers):
    event = {"error": {"message": f"slow down {KEY}", "code": 429}}
    server = await upstream(answers.raw(head(), sse(delta("half"), event)))
    with pytest.raises(ThrottledError, match="in the middle of the stream") as caught:
        await collected(server, http)
    assert KEY not in str(caught.value)


async def test_a_stream_that_is_refused_has_the_error_of_its_status(http, upstream, answers):
    server = await upstream(answers.respond(401, b'{"error": {"message": "no"}}'))
    with pytest.raises(AuthenticationError, match="no"):
        await collected(server, http)
    assert http.statistics().open_requests == 0


async def test_leaving_a_stream_early_ends_the_request(http, upstream, answers, no_leaks):
    server = await upstream(answers.raw(head(), sse(delta("first"), done=False), hang=True))
    async with no_leaks():
        async with provider(server, http).stream(ASK, model="m") as stream:
            assert await anext(stream) == "first"
        assert stream.answer is None
    assert http.statistics().open_requests == 0
    assert server.gone == 1


async def test_the_key_is_in_no_repr(http, upstream, answers):
    server = await upstream(answers.hang)
    one = provider(server, http)
    assert KEY not in repr(one)
    assert KEY not in repr(one.stream(ASK, model="m")) + repr(one._endpoint("/chat", "m")) + repr(one._access)


def refusing(answers, parameter: str):
    error = {"error": {"message": "no", "code": "unsupported_value", "param": parameter}}
    return answers.respond(400, json.dumps(error).encode())


async def test_a_parameter_the_model_does_not_take_is_left_out_from_then_on(http, upstream, answers):
    server = await upstream(refusing(answers, "temperature"), refusing(answers, "max_tokens"), answers.chat("ok"))
    one = provider(server, http)
    request = ChatRequest(messages=ASK.messages, max_tokens=9)
    assert (await one.complete(request, model="m")).text == "ok"
    assert (await one.complete(request, model="m")).text == "ok"
    sent = [
        (("temperature" in r.json), r.json.get("max_tokens"), r.json.get("max_completion_tokens"))
        for r in server.requests
    ]
    assert sent == [(True, 9, None), (False, 9, None), (False, None, 9), (False, None, 9)]
    await one.complete(request, model="other")
    assert server.requests[-1].json["temperature"] == 0.0


async def test_a_parameter_refused_again_and_again_is_an_error(http, upstream, answers):
    server = await upstream(refusing(answers, "temperature"))
    with pytest.raises(RequestRejectedError):
        await provider(server, http).complete(ASK, model="m")
    assert len(server.requests) == 2


async def test_a_parameter_that_matters_is_never_left_out(http, upstream, answers):
    server = await upstream(refusing(answers, "messages"))
    with pytest.raises(RequestRejectedError):
        await provider(server, http).complete(ASK, model="m")
    assert len(server.requests) == 1


async def test_a_stream_leaves_out_what_is_refused_as_well(http, upstream, answers):
    server = await upstream(refusing(answers, "temperature"), answers.raw(head(), STREAM))
    texts, _ = await collected(server, http)
    assert "".join(texts) == "Grüß dich ✓"
    assert http.statistics().open_requests == 0
