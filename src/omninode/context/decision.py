"""Which sources a gathering asks, and with what probability each was chosen.

The probability (propensity) is that with which the logged choice to include was drawn, so that another policy can
later be judged on the same log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from omninode.context.item import SourceReport
from omninode.context.source import Source
from omninode.core.ids import uuid7

__all__ = ["Choice", "Chooser", "Decision"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Whether one source is asked. `propensity` is the probability of being included; `reason` says why in a word."""

    source: str
    context_type: str
    included: bool
    propensity: float = 1.0
    reason: str = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The choices of one gathering; `features` describe the prompt to the model that chose."""

    id: UUID = field(default_factory=uuid7)
    prompt_hash: str = ""
    task_type: str = "general"
    features: tuple[float, ...] = ()
    choices: tuple[Choice, ...] = ()

    def includes(self, source: str) -> bool:
        """Whether `source` is asked; a source nobody decided about is."""
        return all(choice.included for choice in self.choices if choice.source == source)


class Chooser(Protocol):
    """Decides which sources are asked, and is told how they did. Both return at once and do no I/O."""

    def choose(self, prompt: str, sources: Sequence[Source], *, task_type: str = "general") -> Decision:
        """The decision for one gathering."""
        ...

    def observe(self, decision: Decision, reports: Sequence[SourceReport]) -> None:
        """Take how the sources of `decision` did."""
        ...
