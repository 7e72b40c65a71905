"""What helped before, as one short item: which kinds of context answers drew on, and which files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from omninode.context.item import ContextItem
from omninode.context.notes import Note
from omninode.context.optimizer import SourceInsight
from omninode.context.source import SourceQuery, Traits

__all__ = ["LearnedHints", "Memory"]


class Memory(Protocol):
    """What was learned; `ContextOptimizer` is one."""

    def insights(self) -> tuple[SourceInsight, ...]:
        """What is known of each source."""
        ...

    def recall(self, prompt: str, *, limit: int = 5) -> list[Note]:
        """The files that helped with similar prompts."""
        ...


class LearnedHints:
    """One item, or none before there is something to tell: at least `min_samples` outcomes, or a file well supported."""

    name = "learned_hints"
    context_type = "hints"

    def __init__(self, memory: Memory, *, min_samples: int = 10, traits: Traits | None = None) -> None:
        self._memory = memory
        self._min_samples = min_samples
        self.traits = traits or Traits(weight=0.5)

    async def fetch(self, query: SourceQuery) -> Sequence[ContextItem]:
        """The hints for `query.prompt`."""
        lines = [*self._kinds(), *self._files(query)]
        if not lines:
            return []
        return [
            ContextItem(
                id="hints:learned",
                source=self.name,
                context_type=self.context_type,
                content="\n".join(lines),
                title="What helped with earlier tasks",
                score=1.0,
                trust="learned",
            )
        ]

    def _kinds(self) -> list[str]:
        known = [
            insight
            for insight in self._memory.insights()
            if insight.samples >= self._min_samples and insight.context_type != self.context_type
        ]
        known.sort(key=lambda insight: -insight.useful)
        told = [f"{insight.context_type} ({insight.useful:.0%} of {insight.samples})" for insight in known]
        return [f"Earlier answers drew on: {', '.join(told)}."] if told else []

    def _files(self, query: SourceQuery) -> list[str]:
        notes = self._memory.recall(query.prompt, limit=query.max_results)
        told = [f"{note.path} ({note.helped} of {note.sent})" for note in notes]
        return [f"Files that helped with similar requests: {', '.join(told)}."] if told else []
