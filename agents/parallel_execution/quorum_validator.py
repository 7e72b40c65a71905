"""Signpost: voting on a plan lives in `omninode.quorum`."""

from omninode import Decision, QuorumValidator

__all__ = ["Decision", "QuorumValidator"]
