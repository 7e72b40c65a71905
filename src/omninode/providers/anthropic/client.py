"""A client of the Anthropic messages protocol: POST /v1/messages, GET /v1/models."""

from __future__ import annotations

import time
from collections.abc import Mapping

from omninode.core.errors import MalformedAnswerError
from omninode.providers.anthropic import wire
from omninode.providers.anthropic.stream import AnthropicDecoder
from omninode.providers.http import HttpClient, with_deadline
from omninode.providers.messages import ChatAnswer, ChatRequest
from omninode.providers.streaming import Endpoint, SseAnswerStream

__all__ = ["AnthropicProvider"]

_VERSION = "2023-06-01"


class AnthropicProvider:
    """One endpoint that speaks the Anthropic protocol; see `Provider`. The arguments are those of OpenAIProvider.

    `base_url` may end in `/v1` or leave that out, as both are in use.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        *,
        http: HttpClient,
        name: str = "anthropic",
        timeout_s: float = 60.0,
        sends_deadline: bool = False,
    ) -> None:
        self._base_url = base_url.rstrip("/").removesuffix("/v1") + "/v1"
        self._secrets = (api_key,) if api_key else ()
        self._headers = {"anthropic-version": _VERSION} | ({"x-api-key": api_key} if api_key else {})
        self._http = http
        self._name = name
        self._timeout_s = timeout_s
        self._sends_deadline = sends_deadline

    @property
    def name(self) -> str:
        """See `Provider.name`."""
        return self._name

    def __repr__(self) -> str:
        return f"AnthropicProvider({self._base_url!r}, name={self._name!r})"

    async def complete(self, request: ChatRequest, *, model: str) -> ChatAnswer:
        """See `Provider.complete`."""
        started = time.monotonic()
        end = self._chat(model)
        parsed = await self._http.post_json(
            end.url,
            wire.body(request, model=model),
            subject=end.subject,
            headers=end.headers,
            timeout_s=end.timeout_s,
            secrets=end.secrets,
        )
        return wire.answer(
            parsed, request=request, model=model, subject=end.subject, duration_s=time.monotonic() - started
        )

    def stream(self, request: ChatRequest, *, model: str) -> SseAnswerStream:
        """See `Provider.stream`."""
        end = self._chat(model)
        body = wire.body(request, model=model, is_streaming=True)
        decoder = AnthropicDecoder(subject=end.subject, secrets=end.secrets)
        return SseAnswerStream(end, body, request=request, model=model, decoder=decoder)

    async def models(self) -> tuple[str, ...]:
        """See `Provider.models`."""
        subject = f"{self._name}: list of models"
        parsed = await self._http.get_json(
            f"{self._base_url}/models?limit=1000",
            subject=subject,
            headers=self._headers,
            timeout_s=self._timeout_s,
            secrets=self._secrets,
        )
        listed = parsed.get("data") if isinstance(parsed, dict) else None
        if not isinstance(listed, list):
            raise MalformedAnswerError(f"{subject}: the answer has no list named 'data'")
        return tuple(entry["id"] for entry in listed if isinstance(entry, dict) and isinstance(entry.get("id"), str))

    async def close(self) -> None:
        """See `Provider.close`; it holds nothing of its own."""

    def _chat(self, model: str) -> Endpoint:
        headers: Mapping[str, str] = self._headers
        if self._sends_deadline:
            headers = with_deadline(headers, timeout_s=self._timeout_s)
        return Endpoint(
            http=self._http,
            url=f"{self._base_url}/messages",
            headers=headers,
            secrets=self._secrets,
            subject=f"{self._name}: chat with model {model!r}",
            timeout_s=self._timeout_s,
        )
