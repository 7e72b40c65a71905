"""Not asking a remote source twice: kept answers, and one task for identical questions under way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from omninode.context.inquiry import normal_query
from omninode.context.item import ContextItem
from omninode.context.source import SourceQuery
from omninode.core.clock import Clock
from omninode.core.ids import stable_hash
from omninode.routing.cache.exact import CacheStatistics, ExactCache
from omninode.routing.cache.single_flight import FlightStatistics, SingleFlight

__all__ = ["Found", "RetrievalCache", "RetrievalStatistics", "retrieval_key"]

_Items = tuple[ContextItem, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """The items for a key; `is_cached` when nobody had to be asked for them just now."""

    items: _Items
    is_cached: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalStatistics:
    """What was kept and what was shared."""

    kept: CacheStatistics
    shared: FlightStatistics


class RetrievalCache:
    """Answers of remote sources by question. Safe to use concurrently from one event loop.

    Failures are not kept. An answer is served for `ttl_s`, five minutes by default: long enough for the repetitions
    within a run, short enough for a collection that changes. With `ttl_s` None nothing is kept, only shared.
    """

    def __init__(
        self,
        *,
        max_entries: int = 2_000,
        ttl_s: float | None = 300.0,
        max_bytes: int = 32_000_000,
        clock: Clock | None = None,
    ) -> None:
        self._keeps = ttl_s is not None
        self._kept: ExactCache[_Items] = ExactCache(
            max_entries, ttl_s or 1.0, clock, max_bytes=max_bytes, size_of=_size_bytes
        )
        self._flights: SingleFlight[_Items] = SingleFlight()

    async def fetch(self, key: str, call: Callable[[], Awaitable[_Items]]) -> Found:
        """The kept answer for `key`, that of an identical question under way, or what `call` returns."""
        kept = self._kept.get(key) if self._keeps else None
        if kept is not None:
            return Found(kept, is_cached=True)

        async def ask() -> _Items:
            items = await call()
            if self._keeps:
                self._kept.put(key, items)
            return items

        flown = await self._flights.run(key, ask)
        return Found(flown.value, is_cached=flown.is_shared)

    def statistics(self) -> RetrievalStatistics:
        """What was kept and shared since it was made."""
        return RetrievalStatistics(kept=self._kept.statistics(), shared=self._flights.statistics())

    async def close(self) -> None:
        """End what is under way. Closing twice is harmless."""
        await self._flights.close()


def retrieval_key(source: str, question: SourceQuery) -> str:
    """The same key for questions that have the same answer from `source`."""
    queries = [normal_query(query) for query in question.queries]
    return stable_hash(source, str(question.max_results), *queries)


def _size_bytes(items: _Items) -> int:
    return sum(len(item.content) for item in items)
