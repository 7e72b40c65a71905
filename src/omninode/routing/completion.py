"""What the router hands back: an answer, and how it was come by."""

from __future__ import annotations

from dataclasses import dataclass

from omninode.core.events import CacheUse
from omninode.core.usage import Cost, Usage
from omninode.providers.messages import ChatAnswer

__all__ = ["Completion"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """An answer and how it was come by.

    `usage` and `cost` are what this call added: nothing where a cached or shared answer served it (`answer.usage`
    keeps what the answer took originally). `degraded` says in words what was not as it should be, None when all was
    well; `fell_back_from` names the deployments that should have answered before this one. `cache_key` is what the
    answer is kept under for the next caller, None where it is not (`Router.forget`).
    """

    text: str
    answer: ChatAnswer
    deployment: str
    model: str
    provider: str
    usage: Usage
    cost: Cost
    attempts: int
    cache: CacheUse
    duration_ms: float
    degraded: str | None = None
    fell_back_from: tuple[str, ...] = ()
    is_simulated: bool = False
    cache_key: str | None = None

    @property
    def size_bytes(self) -> int:
        """About how much memory it takes: what a cache weighs it by."""
        # A thousand for the fields around the text, which is held once for both places.
        return 1_000 + len(self.text.encode("utf-8", "surrogatepass"))
