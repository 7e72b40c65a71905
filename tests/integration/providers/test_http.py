"""The HTTP client against a real server."""

from __future__ import annotations

import asyncio

import pytest

from omninode.core import current
from omninode.core.deadline import Deadline
from omninode.core.errors import (
    AttemptTimeoutError,
    ConfigurationError,
    DeadlineExceededError,
    InvalidArgumentError,
    MalformedAnswerError,
    ProviderUnavailableError,
    RequestRejectedError,
)
from omninode.providers.http import HttpClient, HttpLimits
from omninode.resilience.classify import Outcome, classify

pytestmark = pytest.mark.integration


async def test_json_is_sent_and_received(http, upstream, answers):
    server = await upstream(answers.respond(200, b'{"results": [1]}'))
    assert await http.post_json(f"{server.url}/search", {"q": "é"}) == {"results": [1]}
    (received,) = server.requests
    assert (received.method, received.path, received.json) == ("POST", "/v1/search", {"q": "é"})
    assert received.headers["content-type"] == "application/json"
    assert await http.get_json(f"{server.url}/x") == {"results": [1]}
    assert http.statistics().requests == 2
    assert http.statistics().received_bytes == 32


async def test_redirects_are_not_followed(http, upstream, answers):
    target = await upstream(answers.respond(200))
    server = await upstream(answers.respond(302, b"", headers={"location": target.url}))
    with pytest.raises(RequestRejectedError, match="redirect") as caught:
        await http.get_json(server.url, headers={"authorization": "Bearer k"})
    assert caught.value.status == 302
    assert target.requests == []


async def test_an_answer_beyond_the_limit_is_refused(upstream, answers):
    server = await upstream(answers.respond(200, b"[" + b"1," * 5000 + b"1]"))
    async with HttpClient(limits=HttpLimits(max_answer_bytes=1000)) as http:
        with pytest.raises(MalformedAnswerError, match="exceeds 1000 bytes"):
            await http.get_json(server.url)


async def test_prose_where_json_was_due_is_malformed(http, upstream, answers):
    server = await upstream(answers.respond(200, b"<html>"))
    with pytest.raises(MalformedAnswerError, match="not JSON"):
        await http.get_json(server.url)


async def test_a_body_cut_off_is_malformed(http, upstream, answers):
    server = await upstream(answers.raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"))
    with pytest.raises(MalformedAnswerError, match="cut off"):
        await http.get_json(server.url)


async def test_own_timeout_and_deadline_are_told_apart(http, upstream, answers):
    server = await upstream(answers.hang)
    with pytest.raises(AttemptTimeoutError):
        await http.get_json(server.url, timeout_s=0.05)
    with current.entered(deadline=Deadline.after(0.05)), pytest.raises(DeadlineExceededError):
        await http.get_json(server.url, timeout_s=30)
    assert http.statistics().open_requests == 0
    assert http.statistics().failed == 2


async def test_a_passed_deadline_sends_nothing(http, upstream, answers):
    server = await upstream(answers.respond(200))
    with current.entered(deadline=Deadline.after(0)), pytest.raises(DeadlineExceededError):
        await http.get_json(server.url)
    assert server.requests == []


async def test_silence_inside_an_answer_is_a_timeout(upstream, answers):
    server = await upstream(answers.raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{", hang=True))
    async with HttpClient(limits=HttpLimits(idle_timeout_s=0.05)) as http:
        with pytest.raises(AttemptTimeoutError):
            await http.get_json(server.url)


async def test_nobody_listening_is_unavailable(http):
    server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    with pytest.raises(ProviderUnavailableError, match="cannot connect") as caught:
        await http.get_json(f"http://127.0.0.1:{port}/")
    assert caught.value.retryable


async def test_an_unknown_host_is_named(http):
    with pytest.raises(ProviderUnavailableError, match=r"nowhere\.invalid.*unknown host"):
        await http.get_json("http://nowhere.invalid/x?token=secret")


async def test_messages_hold_no_query_and_no_password(http):
    with pytest.raises(ProviderUnavailableError) as caught:
        await http.get_json("http://user:hunter2@nowhere.invalid/x?token=secret")
    assert "hunter2" not in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_an_address_that_is_none_is_a_configuration_error(http):
    with pytest.raises(ConfigurationError):
        await http.get_json("nonsense")


async def test_a_server_that_does_not_speak_http_is_malformed(http, upstream, answers):
    server = await upstream(answers.raw(b"SSH-2.0-OpenSSH\r\n\r\n"))
    with pytest.raises(MalformedAnswerError):
        await http.get_json(server.url)


async def test_a_connection_dropped_before_the_answer_is_unavailable(http, upstream, answers):
    server = await upstream(answers.raw())
    with pytest.raises(ProviderUnavailableError, match="lost"):
        await http.post_json(server.url, {})


async def test_a_closed_client_refuses_and_closes_twice(http):
    await http.close()
    await http.close()
    with pytest.raises(InvalidArgumentError, match="closed"):
        await http.get_json("http://127.0.0.1:1/")


async def test_cancelling_the_caller_ends_the_request(http, upstream, answers, no_leaks):
    server = await upstream(answers.hang)
    async with no_leaks():
        task = asyncio.ensure_future(http.get_json(server.url))
        while not server.requests:
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while not server.gone:
            await asyncio.sleep(0.005)
    assert http.statistics().open_requests == 0


async def test_only_a_server_that_had_its_fair_time_is_blamed_for_a_passed_deadline(http, upstream, answers):
    server = await upstream(answers.hang)
    for own_s, expected in ((0.05, Outcome.TIMEOUT), (30.0, Outcome.NEUTRAL)):
        with current.entered(deadline=Deadline.after(0.05)), pytest.raises(DeadlineExceededError) as caught:
            await http.get_json(server.url, timeout_s=own_s + 0.01)
        assert classify(caught.value) is expected
