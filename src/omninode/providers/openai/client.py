"""A client of the OpenAI chat completions protocol: POST /chat/completions, GET /models.

Written against the protocol, not against one vendor: servers differ in what they leave out, so everything but the
text itself may be missing.
"""

from __future__ import annotations

import time
from urllib.parse import urlsplit

from omninode.providers import http
from omninode.providers.client import Access, ProtocolClient
from omninode.providers.http import HttpClient
from omninode.providers.messages import ChatAnswer, ChatRequest
from omninode.providers.openai import wire
from omninode.providers.openai.stream import OpenAIDecoder
from omninode.providers.streaming import SseAnswerStream

__all__ = ["OpenAIProvider"]


class OpenAIProvider(ProtocolClient):
    """One endpoint that speaks the OpenAI protocol; see `Provider`.

    Args:
        base_url: up to and including the version, such as `https://api.openai.com/v1`.
        api_key: sent as a bearer token; None for servers that want none. It appears in no message and no repr.
        http: the client to send with; it stays the caller's.
        name: begins every error message.
        timeout_s: the longest a whole answer may take; the deadline of the scope holds as well.
        sends_deadline: say in the header `x-deadline-ms` how long the answer is waited for. Only for servers that
            know it, such as one's own; others get no header they did not ask for.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        *,
        http: HttpClient,
        name: str = "openai",
        timeout_s: float = 60.0,
        sends_deadline: bool = False,
    ) -> None:
        # OpenAI's own models take the newest name only, most other servers only the older one.
        is_openai = urlsplit(base_url).hostname == "api.openai.com"
        self._always_unsupported = frozenset({"max_tokens"} if is_openai else ())
        self._unsupported: dict[str, frozenset[str]] = {}
        super().__init__(
            name,
            Access(
                base_url=base_url.rstrip("/"),
                headers={"authorization": f"Bearer {api_key}"} if api_key else {},
                secrets=(api_key,) if api_key else (),
                http=http,
                timeout_s=timeout_s,
                sends_deadline=sends_deadline,
            ),
        )

    async def complete(self, request: ChatRequest, *, model: str) -> ChatAnswer:
        """See `Provider.complete`."""
        started = time.monotonic()
        end = self._endpoint("/chat/completions", model)
        body: bytes | None = self._body(request, model)
        while body is not None:
            answer = await self._access.http.request(
                "POST", end.url, body=body, subject=end.subject, headers=end.headers, timeout_s=end.timeout_s
            )
            body = None if answer.is_success else self._mended(request, model, answer.status, answer.body)
        parsed = http.parsed(answer, subject=end.subject, secrets=end.secrets)
        return wire.answer(
            parsed, request=request, model=model, subject=end.subject, duration_s=time.monotonic() - started
        )

    def stream(self, request: ChatRequest, *, model: str) -> SseAnswerStream:
        """See `Provider.stream`."""
        end = self._endpoint("/chat/completions", model)
        return SseAnswerStream(
            end,
            self._body(request, model, is_streaming=True),
            request=request,
            model=model,
            decoder=OpenAIDecoder(subject=end.subject, secrets=end.secrets),
            mend=lambda status, refusal: self._mended(request, model, status, refusal, is_streaming=True),
        )

    def _body(self, request: ChatRequest, model: str, *, is_streaming: bool = False) -> bytes:
        unsupported = self._unsupported.get(model, self._always_unsupported)
        return wire.body(request, model=model, is_streaming=is_streaming, unsupported=unsupported)

    def _mended(
        self, request: ChatRequest, model: str, status: int, refusal: bytes, *, is_streaming: bool = False
    ) -> bytes | None:
        """The request without the parameter a refusal names, None when it names none; later requests begin so."""
        name = wire.unsupported_parameter(refusal) if status == 400 else None
        known = self._unsupported.get(model, self._always_unsupported)
        if name is None or name in known:
            return None
        self._unsupported[model] = known | {name}
        return self._body(request, model, is_streaming=is_streaming)
