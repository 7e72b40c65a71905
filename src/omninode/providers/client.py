"""What the clients of all protocols have in common: one endpoint with its key, asked for its models and for chats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from omninode.core.errors import MalformedAnswerError
from omninode.providers.http import HttpClient, with_deadline
from omninode.providers.streaming import Endpoint

__all__ = ["Access", "ProtocolClient"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How an endpoint is reached: what each request begins with and carries, and what must be in no message."""

    base_url: str
    headers: Mapping[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    http: HttpClient
    timeout_s: float
    sends_deadline: bool


class ProtocolClient:
    """One endpoint; see `Provider`, of which the protocols add `complete` and `stream`."""

    def __init__(self, name: str, access: Access) -> None:
        self._name = name
        self._access = access

    @property
    def name(self) -> str:
        """See `Provider.name`."""
        return self._name

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._access.base_url!r}, name={self._name!r})"

    async def models(self) -> tuple[str, ...]:
        """See `Provider.models`."""
        subject = f"{self._name}: list of models"
        parsed = await self._access.http.get_json(
            f"{self._access.base_url}/models{self._models_query}",
            subject=subject,
            headers=self._access.headers,
            timeout_s=self._access.timeout_s,
            secrets=self._access.secrets,
        )
        listed = parsed.get("data") if isinstance(parsed, dict) else None
        if not isinstance(listed, list):
            raise MalformedAnswerError(f"{subject}: the answer has no list named 'data'")
        return tuple(entry["id"] for entry in listed if isinstance(entry, dict) and isinstance(entry.get("id"), str))

    async def close(self) -> None:
        """See `Provider.close`; it holds nothing of its own."""

    _models_query = ""

    def _endpoint(self, path: str, model: str) -> Endpoint:
        access = self._access
        headers = with_deadline(access.headers, timeout_s=access.timeout_s) if access.sends_deadline else access.headers
        return Endpoint(
            http=access.http,
            url=f"{access.base_url}{path}",
            headers=headers,
            secrets=access.secrets,
            subject=f"{self._name}: chat with model {model!r}",
            timeout_s=access.timeout_s,
        )
