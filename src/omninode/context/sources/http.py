"""Passages from any retrieval server that speaks JSON over HTTP.

The server is sent `{"query": …, "max_results": …}` and answers `{"results": […]}`. What one result calls its parts
differs from server to server, so the usual names are all understood; a bare string is a result too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import urlsplit

from omninode.context.item import ContextItem, content_key
from omninode.context.source import SourceQuery, Traits
from omninode.core.errors import InvalidArgumentError, SourceError
from omninode.core.events import EventSink
from omninode.resilience.circuit import CircuitBreakerConfig
from omninode.resilience.policy import Policy
from omninode.resilience.schedule import RetryConfig

__all__ = ["HttpRetrieval", "JsonClient", "items_of"]

_LIST_NAMES = ("results", "documents", "hits", "items", "matches", "data")
_TEXT_NAMES = ("content", "text", "page_content", "passage", "snippet", "body", "chunk")
_TITLE_NAMES = ("title", "name", "heading")
_URL_NAMES = ("url", "link", "uri", "href")
_PATH_NAMES = ("path", "file", "filename")
_SCORE_NAMES = ("score", "relevance", "similarity", "rank_score")


class JsonClient(Protocol):
    """Posts JSON and returns the parsed answer; `providers.http.HttpClient` is one."""

    async def post_json(
        self,
        url: str,
        body: object,
        *,
        subject: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        secrets: tuple[str, ...] = (),
    ) -> object:
        """The parsed JSON body of the answer; raises for anything but success."""
        ...


class HttpRetrieval:
    """Asks one retrieval server, behind a breaker, with retries inside the deadline.

    A result's text is cut at 8,000 characters.

    Args:
        url: where queries are posted.
        http: the client to post with.
        name: of the source and its breaker.
        headers: sent with every query; their values are kept out of errors.
        policy: the protection; by default two retries and a breaker that opens after five failures in a row.
        traits: how the gatherer treats it.
        sink: gets the events of the default policy.
    """

    context_type = "retrieval"

    def __init__(
        self,
        url: str,
        http: JsonClient,
        *,
        name: str = "http_retrieval",
        headers: Mapping[str, str] | None = None,
        policy: Policy | None = None,
        traits: Traits | None = None,
        sink: EventSink | None = None,
    ) -> None:
        if urlsplit(url).scheme not in {"http", "https"}:
            raise InvalidArgumentError(
                f"source {name!r} has the address {url!r}; it must begin with http:// or https://"
            )
        self.name = name
        self.traits = traits or Traits(is_per_query=True, is_remote=True)
        self.policy = policy or Policy(
            f"source:{name}",
            retry=RetryConfig(max_retries=2, base_delay=0.1, max_delay=1.0, max_retry_after=2.0),
            breaker=CircuitBreakerConfig(),
            sink=sink,
        )
        self._url = url
        self._http = http
        self._headers = dict(headers or {})
        # Of "Bearer abc" the part after the blank alone must not be quoted either.
        self._secrets = tuple(part for value in self._headers.values() for part in (value, *value.split()[-1:]) if part)

    async def fetch(self, query: SourceQuery) -> Sequence[ContextItem]:
        """At most `query.max_results` items for each query, in the server's order."""
        items: list[ContextItem] = []
        for text in query.queries or (query.prompt,):
            answer = await self.policy.call(self._post, text, query)
            items += items_of(
                answer,
                source=self.name,
                context_type=self.context_type,
                limit=query.max_results,
            )
        return items

    async def _post(self, text: str, query: SourceQuery) -> object:
        return await self._http.post_json(
            self._url,
            {"query": text, "max_results": query.max_results},
            subject=f"context source {self.name!r}",
            headers=self._headers,
            timeout_s=None if query.deadline is None else max(0.001, query.deadline.remaining()),
            secrets=self._secrets,
        )


def items_of(
    answer: object, *, source: str, context_type: str, limit: int, max_chars: int = 8_000
) -> list[ContextItem]:
    """The items in a retrieval server's answer; results without text are passed over.

    Raises SourceError when the answer holds no list of results at all.
    """
    results = _list_in(answer)
    if results is None:
        raise SourceError(
            f'context source {source!r} answered without a list of results; it must answer {{"results": [...]}}'
        )
    items: list[ContextItem] = []
    for rank, result in enumerate(results, 1):
        if len(items) == limit:
            break
        item = _item(result, rank=rank, source=source, context_type=context_type, max_chars=max_chars)
        if item is not None:
            items.append(item)
    return items


def _list_in(answer: object) -> list[object] | None:
    if isinstance(answer, list):
        return answer
    if not isinstance(answer, dict):
        return None
    return next((answer[name] for name in _LIST_NAMES if isinstance(answer.get(name), list)), None)


def _item(result: object, *, rank: int, source: str, context_type: str, max_chars: int) -> ContextItem | None:
    fields = _fields(result)
    text = _first_text(fields, _TEXT_NAMES)[:max_chars]
    if not text.strip():
        return None
    identity = fields.get("id")
    key = str(identity)[:200] if isinstance(identity, str | int) and str(identity) else content_key(text)[:16]
    url = _first_text(fields, _URL_NAMES)[:2_000] or None
    return ContextItem(
        id=f"{source}:{key}",
        source=source,
        context_type=context_type,
        content=text,
        title=_first_text(fields, _TITLE_NAMES)[:300] or url or f"{source} result {rank}",
        path=_first_text(fields, _PATH_NAMES)[:1_000] or None,
        url=url,
        score=_score(fields),
        trust="remote",
        metadata={"rank": rank},
    )


# Any: parsed JSON of a server we know nothing about.
def _fields(result: object) -> Mapping[str, Any]:
    """One flat mapping for the shapes in use: a string, flat fields, or fields below `document`, `source`, `metadata`."""
    if isinstance(result, str):
        return {"text": result}
    if not isinstance(result, dict):
        return {}
    flat: dict[str, Any] = {}
    for name in ("metadata", "_source", "document", "node"):
        inner = result.get(name)
        if isinstance(inner, dict):
            flat.update(inner)
        elif isinstance(inner, str) and name == "document":
            flat["text"] = inner
    return {**flat, **{name: value for name, value in result.items() if value is not None}}


def _first_text(fields: Mapping[str, Any], names: Sequence[str]) -> str:
    return next((fields[name] for name in names if isinstance(fields.get(name), str) and fields[name].strip()), "")


def _score(fields: Mapping[str, Any]) -> float:
    for name in _SCORE_NAMES:
        value = fields.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    return 0.0
