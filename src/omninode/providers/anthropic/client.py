"""A client of the Anthropic messages protocol: POST /v1/messages, GET /v1/models."""

from __future__ import annotations

import time

from omninode.providers.anthropic import wire
from omninode.providers.anthropic.stream import AnthropicDecoder
from omninode.providers.client import Access, ProtocolClient
from omninode.providers.http import HttpClient
from omninode.providers.messages import ChatAnswer, ChatRequest
from omninode.providers.streaming import SseAnswerStream

__all__ = ["AnthropicProvider"]

_VERSION = "2023-06-01"


class AnthropicProvider(ProtocolClient):
    """One endpoint that speaks the Anthropic protocol; see `Provider`. The arguments are those of OpenAIProvider.

    `base_url` may end in `/v1` or leave that out, as both are in use.
    """

    _models_query = "?limit=1000"

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
        super().__init__(
            name,
            Access(
                base_url=base_url.rstrip("/").removesuffix("/v1") + "/v1",
                headers={"anthropic-version": _VERSION} | ({"x-api-key": api_key} if api_key else {}),
                secrets=(api_key,) if api_key else (),
                http=http,
                timeout_s=timeout_s,
                sends_deadline=sends_deadline,
            ),
        )

    async def complete(self, request: ChatRequest, *, model: str) -> ChatAnswer:
        """See `Provider.complete`."""
        started = time.monotonic()
        end = self._endpoint("/messages", model)
        parsed = await self._access.http.post_json(
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
        end = self._endpoint("/messages", model)
        body = wire.body(request, model=model, is_streaming=True)
        decoder = AnthropicDecoder(subject=end.subject, secrets=end.secrets)
        return SseAnswerStream(end, body, request=request, model=model, decoder=decoder)
