"""Finding models from a few values, against real servers."""

from __future__ import annotations

import json

import pytest

from omninode.providers import catalog
from omninode.providers.anthropic import AnthropicProvider
from omninode.providers.openai import OpenAIProvider

pytestmark = pytest.mark.integration


def offering(answers, *models: str):
    return answers.respond(200, json.dumps({"data": [{"id": model} for model in models]}).encode())


async def test_nothing_given_is_nothing_found(http):
    assert await catalog.discover(http, ollama_url=None) == ()


async def test_the_preferred_models_that_are_offered_are_found(http, upstream, answers):
    server = await upstream(offering(answers, "whisper-1", "gpt-4o", "gpt-4.1-mini-2025-04-14", "gpt-4o-mini", "o9"))
    found = await catalog.discover(http, openai_api_key="k", openai_base_url=server.url, ollama_url=None)
    assert [entry.model for entry in found] == ["gpt-4.1-mini-2025-04-14", "gpt-4o-mini", "gpt-4o"]
    assert [entry.is_first for entry in found] == [True, False, False]
    assert {(entry.protocol, entry.base_url, entry.api_key) for entry in found} == {("openai", server.url, "k")}
    assert server.requests[0].headers["authorization"] == "Bearer k"


async def test_where_none_is_known_those_that_can_chat_are_found(http, upstream, answers):
    server = await upstream(offering(answers, "nomic-embed-text", "llama3.2", "qwen3"))
    found = await catalog.discover(http, openai_base_url=server.url, ollama_url=server.url.removesuffix("/v1"))
    assert [(entry.name, entry.is_local) for entry in found] == [
        ("openai-llama3.2", False),
        ("openai-qwen3", False),
        ("ollama-llama3.2", True),
        ("ollama-qwen3", True),
    ]


@pytest.mark.fault
async def test_an_endpoint_that_refuses_is_still_named_but_ollama_is_not(http, upstream, answers):
    server = await upstream(answers.respond(401))
    found = await catalog.discover(
        http, openai_api_key="wrong", openai_base_url=server.url, ollama_url="http://127.0.0.1:9"
    )
    assert [(entry.name, entry.model) for entry in found] == [("openai-gpt-4.1-mini", "gpt-4.1-mini")]


@pytest.mark.fault
async def test_a_hanging_endpoint_does_not_hold_up_discovery(http, upstream, answers):
    server = await upstream(answers.hang)
    found = await catalog.discover(http, ollama_url=server.url, timeout_s=0.05)
    assert found == ()


def test_a_protocol_has_its_provider(http):
    made = [
        catalog.provider_for(protocol, "http://h/v1", None, http=http, name="n") for protocol in ("openai", "anthropic")
    ]
    assert [type(entry) for entry in made] == [OpenAIProvider, AnthropicProvider]
