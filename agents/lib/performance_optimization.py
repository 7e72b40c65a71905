"""Signpost: fast batches, indexes and slow queries live in `omninode.storage`."""

from omninode import PerformanceOptimizer

__all__ = ["PerformanceOptimizer"]
