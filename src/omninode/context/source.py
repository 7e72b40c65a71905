"""What a context source is: something with a name that answers a question with items.

A source raises when it fails and is cancelled when it is late; the gatherer turns both into a status. It never blocks
the event loop: work of its own goes through an `Offload`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from omninode.context.item import ContextItem, SourceReport, SourceStatus
from omninode.core.deadline import Deadline
from omninode.core.errors import InvalidArgumentError

__all__ = ["Source", "SourceQuery", "SourceReport", "SourceStatus", "Traits", "traits_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceQuery:
    """What a source is asked: the whole prompt, the queries to answer now, and by when."""

    prompt: str
    queries: tuple[str, ...]
    max_results: int = 5
    deadline: Deadline | None = None

    def __post_init__(self) -> None:
        if self.max_results < 1:
            raise InvalidArgumentError(f"max_results is {self.max_results}; ask for at least one result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """How the gatherer treats a source.

    Args:
        timeout_s: its own limit, inside the deadline of the whole; None for the gatherer's.
        is_must: never left out by the optimiser.
        is_per_query: asked once per query (a retrieval source); otherwise once, for the prompt.
        is_remote: answers may be cached by query, because nothing in this process changes them.
        weight: its part in the fused ranking, 0 or more.
    """

    timeout_s: float | None = None
    is_must: bool = False
    is_per_query: bool = False
    is_remote: bool = False
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise InvalidArgumentError(f"a source has the weight {self.weight}; pass zero or more")
        if self.timeout_s is not None and self.timeout_s <= 0:
            raise InvalidArgumentError(f"a source has a timeout of {self.timeout_s} s; pass more than zero")


class Source(Protocol):
    """Answers queries with items, best first. It may also carry `traits: Traits`; the defaults hold otherwise."""

    @property
    def name(self) -> str:
        """Unique among the sources of one gatherer."""
        ...

    @property
    def context_type(self) -> str:
        """What kind of context it gives: `files`, `search`, `structure`, `retrieval`, `hints` or one of your own."""
        ...

    async def fetch(self, query: SourceQuery) -> Sequence[ContextItem]:
        """The items for `query`, best first; raises when it cannot answer."""
        ...


_DEFAULT = Traits()


def traits_of(source: Source) -> Traits:
    """The traits `source` carries, or the defaults."""
    return cast("Traits", getattr(source, "traits", _DEFAULT))
