"""The scripted provider does what its script says."""

from __future__ import annotations

import asyncio

import pytest

from omninode.core.errors import InvalidArgumentError, ThrottledError
from omninode.core.usage import Usage
from omninode.providers.http import HttpClient
from omninode.providers.messages import ChatRequest, Message
from omninode.providers.provider import Provider
from omninode.routing.deployment import DeploymentConfig
from omninode.routing.router import Router, RouterParts
from omninode.testing.clock import FakeClock
from omninode.testing.provider import Scripted, ScriptedProvider

pytestmark = pytest.mark.unit

ASK = ChatRequest(messages=(Message(role="user", content="x"),))


async def test_the_script_is_played_and_its_end_repeated():
    provider: Provider = ScriptedProvider(
        ["one", ThrottledError("slow"), Scripted(text="three", usage=Usage(input_tokens=3))]
    )
    assert (await provider.complete(ASK, model="m")).text == "one"
    with pytest.raises(ThrottledError):
        await provider.complete(ASK, model="m")
    for _ in range(2):
        assert (await provider.complete(ASK, model="m")).usage == Usage(input_tokens=3)
    assert len(provider.requests) == 4
    assert await provider.models() == ("scripted",)


async def test_a_stream_comes_word_by_word_and_adds_up():
    async with ScriptedProvider(["two  words."]).stream(ASK, model="m") as stream:
        assert [word async for word in stream] == ["two ", " ", "words."]
        assert stream.answer.text == "two  words."


async def test_delays_pass_on_the_clock_and_calls_under_way_are_counted():
    clock = FakeClock()
    provider = ScriptedProvider([Scripted(text="late", delay_s=5)], clock=clock)
    calls = [asyncio.ensure_future(provider.complete(ASK, model="m")) for _ in range(3)]
    await asyncio.sleep(0)
    assert provider.running == 3
    clock.advance(5)
    assert [(await call).duration_s for call in calls] == [5, 5, 5]
    assert (provider.running, provider.most_running) == (0, 3)


async def test_a_router_takes_it_in_place_of_a_real_one():
    provider = ScriptedProvider(["hello"])
    config = DeploymentConfig(name="a", protocol="openai", base_url="http://unused.invalid/v1", model="m")
    async with (
        HttpClient() as http,
        Router([config], http=http, parts=RouterParts(providers={"a": provider})) as router,
    ):
        assert (await router.complete(ASK, role="worker")).text == "hello"
    assert provider.is_closed


def test_an_empty_script_is_refused():
    with pytest.raises(InvalidArgumentError):
        ScriptedProvider([])
