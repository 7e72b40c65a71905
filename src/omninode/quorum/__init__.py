"""Several models vote on a plan: ballots, tally, confidence."""

from __future__ import annotations

from omninode.quorum.ballot import Ballot
from omninode.quorum.result import QuorumResult
from omninode.quorum.validator import QuorumStatistics, QuorumValidator
from omninode.quorum.vote import Decision, Vote
from omninode.quorum.voter import RouterVoter, Voter
from omninode.quorum.weights import StaticWeights, Weights

__all__ = [
    "Ballot",
    "Decision",
    "QuorumResult",
    "QuorumStatistics",
    "QuorumValidator",
    "RouterVoter",
    "StaticWeights",
    "Vote",
    "Voter",
    "Weights",
]
