"""Which models there are to use, found from a few settings and a look at this machine.

Only functions of values: who reads the environment is not decided here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal

from omninode.core.concurrency import gather_settled
from omninode.core.deadline import Deadline
from omninode.core.errors import OmniNodeError
from omninode.providers.anthropic import AnthropicProvider
from omninode.providers.http import HttpClient
from omninode.providers.openai import OpenAIProvider
from omninode.providers.provider import Provider

__all__ = [
    "ANTHROPIC_URL",
    "OLLAMA_URL",
    "OPENAI_URL",
    "FoundDeployment",
    "ProtocolName",
    "discover",
    "provider_for",
]

ProtocolName = Literal["openai", "anthropic"]

OPENAI_URL = "https://api.openai.com/v1"
ANTHROPIC_URL = "https://api.anthropic.com"
OLLAMA_URL = "http://127.0.0.1:11434"

# By preference: the first that the endpoint offers is used, the next ones vote and stand by.
_OPENAI_MODELS = ("gpt-4.1-mini", "gpt-4.1", "gpt-4o-mini", "gpt-4o")
_ANTHROPIC_MODELS = (
    "claude-sonnet-4-5",
    "claude-haiku-4-5",
    "claude-sonnet-4-0",
    "claude-3-7-sonnet-latest",
    "claude-3-5-haiku-latest",
)
_NOT_FOR_CHAT = ("embed", "whisper", "tts", "dall-e", "moderation", "rerank", "image", "audio", "realtime")
_MOST_MODELS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundDeployment:
    """A model that can be used, with what found it; `is_first` marks the preferred one of its endpoint."""

    name: str
    protocol: ProtocolName
    base_url: str
    model: str
    api_key: str | None = field(default=None, repr=False)
    origin: str = ""
    is_first: bool = True
    is_local: bool = False


def provider_for(
    protocol: ProtocolName,
    base_url: str,
    api_key: str | None,
    *,
    http: HttpClient,
    name: str,
    timeout_s: float = 60.0,
    sends_deadline: bool = False,
) -> Provider:
    """A client of `protocol` for one endpoint."""
    kind = AnthropicProvider if protocol == "anthropic" else OpenAIProvider
    return kind(base_url, api_key, http=http, name=name, timeout_s=timeout_s, sends_deadline=sends_deadline)


async def discover(
    http: HttpClient,
    *,
    openai_api_key: str | None = None,
    openai_base_url: str | None = None,
    anthropic_api_key: str | None = None,
    ollama_url: str | None = OLLAMA_URL,
    timeout_s: float = 3.0,
) -> tuple[FoundDeployment, ...]:
    """The models usable with these values, in order of preference; empty when there are none.

    Every endpoint is asked at once which models it offers. One that was named by a key or an address but does not
    answer within `timeout_s` is still returned, with the model we would expect there: using it then says what is
    wrong with it, where leaving it out would say that nothing is configured. Ollama counts only if it answers
    (pass None for `ollama_url` to leave it out).
    """
    looks: list[Callable[[], Awaitable[tuple[FoundDeployment, ...]]]] = []
    if openai_api_key or openai_base_url:
        origin = "OPENAI_BASE_URL" if openai_base_url else "OPENAI_API_KEY"
        end = _Endpoint("openai", openai_base_url or OPENAI_URL, openai_api_key, origin)
        looks.append(lambda: _offered(http, end, label="openai", wanted=_OPENAI_MODELS, timeout_s=timeout_s))
    if anthropic_api_key:
        anthropic = _Endpoint("anthropic", ANTHROPIC_URL, anthropic_api_key, "ANTHROPIC_API_KEY")
        looks.append(
            lambda: _offered(http, anthropic, label="anthropic", wanted=_ANTHROPIC_MODELS, timeout_s=timeout_s)
        )
    if ollama_url:
        local = _Endpoint("openai", f"{ollama_url.rstrip('/')}/v1", None, f"Ollama at {ollama_url}")
        looks.append(lambda: _offered(http, local, label="ollama", wanted=(), timeout_s=timeout_s))
    settled = await gather_settled(looks, deadline=Deadline.after(timeout_s + 1.0))
    return tuple(found for entry in settled if entry.is_ok for found in entry.unwrap())


@dataclass(frozen=True, slots=True)
class _Endpoint:
    protocol: ProtocolName
    base_url: str
    api_key: str | None = field(repr=False)
    origin: str


async def _offered(
    http: HttpClient, end: _Endpoint, *, label: str, wanted: tuple[str, ...], timeout_s: float
) -> tuple[FoundDeployment, ...]:
    provider = provider_for(end.protocol, end.base_url, end.api_key, http=http, name=label, timeout_s=timeout_s)
    try:
        offered = await provider.models()
    except OmniNodeError:
        offered = wanted[:1]
    chosen = _chosen(offered, wanted)
    is_local = label == "ollama"
    return tuple(
        FoundDeployment(
            name=f"{label}-{model}",
            protocol=end.protocol,
            base_url=end.base_url,
            model=model,
            api_key=end.api_key,
            origin=end.origin,
            is_first=index == 0,
            is_local=is_local,
        )
        for index, model in enumerate(chosen)
    )


def _chosen(offered: tuple[str, ...], wanted: tuple[str, ...]) -> tuple[str, ...]:
    """The models to use of those `offered`: the wanted ones by preference, else the first that can chat."""
    preferred = [match for name in wanted if (match := _match(name, offered)) is not None]
    if preferred:
        return tuple(dict.fromkeys(preferred))[:_MOST_MODELS]
    chatting = [name for name in offered if not any(word in name.lower() for word in _NOT_FOR_CHAT)]
    return tuple(chatting[:_MOST_MODELS])


def _match(name: str, offered: tuple[str, ...]) -> str | None:
    """`name` itself, or the newest dated version of it."""
    if name in offered:
        return name
    dated = [entry for entry in offered if entry.startswith(f"{name}-") and _is_date(entry[len(name) + 1 :])]
    return max(dated, default=None)


def _is_date(text: str) -> bool:
    return text.replace("-", "").isdigit()
