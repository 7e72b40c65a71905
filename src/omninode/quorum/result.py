"""What a quorum came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from omninode.quorum.vote import Decision, Vote

__all__ = ["QuorumResult"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QuorumResult:
    """The decision of a quorum, and everything it rests on.

    Attributes:
        decision: PASS, RETRY or FAIL.
        confidence: agreement from 0 to 1, not a probability; see `quorum.tally.Tally`. `is_calibrated` says so.
        deficiencies: what voters found wanting, merged, best supported first; a PASS may have some too.
        scores: weighted means from 0 to 1: `overall`, and each criterion the voters gave.
        votes: one for each voter asked, in the voters' order.
        asked, counted, lost, saved: voters asked at once; answers counted; voters without a readable answer; voters
            no longer waited for, because they could not have changed the decision.
        note: in words, what was not as it should be or was cut short; empty when every voter was heard.
        duration_ms: from the first question to the decision.
    """

    decision: Decision
    confidence: float
    deficiencies: tuple[str, ...]
    scores: Mapping[str, float]
    votes: tuple[Vote, ...]
    asked: int
    counted: int
    saved: int
    lost: int = 0
    round: int = 1
    note: str = ""
    duration_ms: float = 0.0
    is_calibrated: bool = False

    @property
    def is_degraded(self) -> bool:
        """Whether voters were lost, so that the decision is one of those left."""
        return self.lost > 0
