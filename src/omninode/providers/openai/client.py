"""A client of the OpenAI chat completions protocol: POST /chat/completions, GET /models.

Written against the protocol, not against one vendor: servers differ in what they leave out, so everything but the
text itself may be missing.
"""

from __future__ import annotations

import time
from urllib.parse import urlsplit

from omninode.core.errors import MalformedAnswerError
from omninode.providers.http import HttpClient
from omninode.providers.messages import ChatAnswer, ChatRequest
from omninode.providers.openai import wire
from omninode.providers.openai.stream import OpenAIDecoder
from omninode.providers.streaming import Endpoint, SseAnswerStream

__all__ = ["OpenAIProvider"]


class OpenAIProvider:
    """One endpoint that speaks the OpenAI protocol; see `Provider`.

    Args:
        base_url: up to and including the version, such as `https://api.openai.com/v1`.
        api_key: sent as a bearer token; None for servers that want none. It appears in no message and no repr.
        http: the client to send with; it stays the caller's.
        name: begins every error message.
        timeout_s: the longest a whole answer may take; the deadline of the scope holds as well.
    """

    def __init__(
        self, base_url: str, api_key: str | None, *, http: HttpClient, name: str = "openai", timeout_s: float = 60.0
    ) -> None:
        self._base_url = base_url.rstrip("/")
        # Others know only the older names of some parameters.
        self._is_openai = urlsplit(base_url).hostname == "api.openai.com"
        self._secrets = (api_key,) if api_key else ()
        self._headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = http
        self._name = name
        self._timeout_s = timeout_s

    @property
    def name(self) -> str:
        """See `Provider.name`."""
        return self._name

    def __repr__(self) -> str:
        return f"OpenAIProvider({self._base_url!r}, name={self._name!r})"

    async def complete(self, request: ChatRequest, *, model: str) -> ChatAnswer:
        """See `Provider.complete`."""
        started = time.monotonic()
        end = self._chat(model)
        parsed = await self._http.post_json(
            end.url,
            wire.body(request, model=model, is_openai=self._is_openai),
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
        body = wire.body(request, model=model, is_openai=self._is_openai, is_streaming=True)
        decoder = OpenAIDecoder(subject=end.subject, secrets=end.secrets)
        return SseAnswerStream(end, body, request=request, model=model, decoder=decoder)

    async def models(self) -> tuple[str, ...]:
        """See `Provider.models`."""
        subject = f"{self._name}: list of models"
        parsed = await self._http.get_json(
            f"{self._base_url}/models",
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
        return Endpoint(
            http=self._http,
            url=f"{self._base_url}/chat/completions",
            headers=self._headers,
            secrets=self._secrets,
            subject=f"{self._name}: chat with model {model!r}",
            timeout_s=self._timeout_s,
        )
