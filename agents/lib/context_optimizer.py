"""Signpost: learning which context is worth gathering lives in `omninode.context`."""

from omninode import ContextOptimizer

__all__ = ["ContextOptimizer"]
