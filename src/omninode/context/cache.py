"""What the gatherer asks of a cache for retrieval answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from omninode.context.inquiry import normal_query
from omninode.context.item import ContextItem
from omninode.context.source import SourceQuery
from omninode.core.ids import stable_hash

__all__ = ["Found", "RetrievalCache", "retrieval_key"]


@dataclass(frozen=True, slots=True)
class Found:
    """The items for a key; `is_cached` when nobody had to be asked for them just now."""

    items: tuple[ContextItem, ...]
    is_cached: bool


class RetrievalCache(Protocol):
    """Keeps answers and lets identical questions share one task."""

    async def fetch(self, key: str, call: Callable[[], Awaitable[tuple[ContextItem, ...]]]) -> Found:
        """The kept answer for `key`, or what `call` returns; a failure is raised and not kept."""
        ...


def retrieval_key(source: str, question: SourceQuery) -> str:
    """The same key for questions that have the same answer from `source`."""
    queries = [normal_query(query) for query in question.queries]
    return stable_hash(source, str(question.max_results), *queries)
