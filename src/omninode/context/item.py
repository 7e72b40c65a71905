"""What gathering hands on: items of context, how each source did, and both together.

A `GatheredContext` is a mapping from id to item, best first. It never hides a loss: every source that was known has a
`SourceReport`, whether it answered, failed, was late or was not asked at all.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from omninode.core.errors import InvalidArgumentError
from omninode.providers import tokens

__all__ = ["ContextItem", "GatheredContext", "SourceReport", "SourceStatus", "Trust", "content_key"]

Trust = Literal["workspace", "remote", "learned"]
SourceStatus = Literal["ok", "late", "failed", "open", "skipped"]

_SPACE = re.compile(r"\s+")


def _nothing() -> Mapping[str, Any]:
    return {}


def content_key(text: str) -> str:
    """The same key for texts that differ only in white space and letter case."""
    normal = _SPACE.sub(" ", text).strip().casefold()
    return hashlib.sha256(normal.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextItem:
    """One piece of context.

    `score` orders items inside one result; it is comparable only there. `tokens` is counted from the content when it
    is left at 0. `is_flagged` says that validation found something in it and let it pass; nothing is learned from it.
    `path` is relative to the workspace, with `/`.
    """

    id: str
    source: str
    context_type: str
    content: str
    title: str = ""
    path: str | None = None
    url: str | None = None
    score: float = 0.0
    tokens: int = 0
    trust: Trust = "workspace"
    # Any: each source has facts of its own (lines, language, rank); readers treat them as JSON.
    metadata: Mapping[str, Any] = field(default_factory=_nothing)
    is_flagged: bool = False

    def __post_init__(self) -> None:
        if not self.id:
            raise InvalidArgumentError(f"an item of source {self.source!r} has no id; give each item one")
        if self.tokens < 0:
            raise InvalidArgumentError(f"item {self.id!r} has {self.tokens} tokens; pass zero or more")
        if not self.tokens:
            object.__setattr__(self, "tokens", tokens.count(self.content))


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReport:
    """How one source did.

    `ok` answered every query; `late` was cut off by its time; `failed` raised; `open` was refused by its breaker or
    bulkhead; `skipped` was not asked, because the optimiser expected nothing from it. A source that lost only some of
    its queries keeps the items of the others: `answered` of `queries` tells.
    """

    source: str
    context_type: str
    status: SourceStatus
    items: int = 0
    tokens: int = 0
    duration_ms: float = 0.0
    queries: int = 0
    answered: int = 0
    cached: int = 0
    error: str | None = None

    @property
    def is_partial(self) -> bool:
        """Whether some of its queries were lost."""
        return self.status != "skipped" and self.answered < self.queries


class GatheredContext(Mapping[str, ContextItem]):
    """Items by id, best first, with a report per source. Immutable."""

    __slots__ = ("_items", "decision_id", "duration_ms", "sources")

    def __init__(
        self,
        items: Iterable[ContextItem] = (),
        *,
        sources: Iterable[SourceReport] = (),
        decision_id: UUID | None = None,
        duration_ms: float = 0.0,
    ) -> None:
        self._items = {item.id: item for item in items}
        self.sources = tuple(sources)
        self.decision_id = decision_id
        self.duration_ms = duration_ms

    def __getitem__(self, key: str) -> ContextItem:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        told = ", ".join(f"{report.source}={report.status}" for report in self.sources)
        return f"GatheredContext({len(self)} items; {told})"

    @property
    def items_by_rank(self) -> tuple[ContextItem, ...]:
        """The items, best first."""
        return tuple(self._items.values())

    @property
    def is_complete(self) -> bool:
        """Whether every source that was asked answered all its queries."""
        return all(report.status in {"ok", "skipped"} for report in self.sources)

    @property
    def lost(self) -> tuple[SourceReport, ...]:
        """The reports of sources that were asked and did not fully answer."""
        return tuple(report for report in self.sources if report.status not in {"ok", "skipped"})

    @property
    def tokens(self) -> int:
        """The tokens of all items."""
        return sum(item.tokens for item in self._items.values())
