"""What a voter says: a decision with its reasons, or why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

__all__ = ["Decision", "Vote", "VoteStatus"]


class Decision(StrEnum):
    """What to do with a plan: carry it out, make it again with the deficiencies as feedback, or give up."""

    PASS = "PASS"  # noqa: S105 - a decision, not a password
    RETRY = "RETRY"
    FAIL = "FAIL"


# `lost`: asked, but no readable answer came. `not_needed`: no longer waited for, because nothing it could say would
# have changed the decision.
VoteStatus = Literal["counted", "lost", "not_needed"]


def _no_scores() -> Mapping[str, float]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """How one voter voted. Decision, score and confidence (0 to 1, both its own claims) are None unless counted."""

    voter: str
    model: str
    weight: float
    status: VoteStatus
    decision: Decision | None = None
    score: float | None = None
    confidence: float | None = None
    deficiencies: tuple[str, ...] = ()
    scores: Mapping[str, float] = field(default_factory=_no_scores)
    duration_ms: float = 0.0
    was_asked_twice: bool = False
    error_class: str | None = None
    error: str | None = None
    failure: Exception | None = field(default=None, compare=False, repr=False)

    @property
    def is_counted(self) -> bool:
        """Whether it takes part in the tally."""
        return self.status == "counted"
