"""Signpost: gathering context from all sources at once lives in `omninode.context`."""

from omninode import ContextGatherer
from omninode import ContextGatherer as ContextManager

__all__ = ["ContextGatherer", "ContextManager"]
