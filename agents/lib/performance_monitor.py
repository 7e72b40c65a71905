"""Signpost: measuring phases and agents lives in `omninode.monitoring`."""

from omninode import PerformanceMonitor

__all__ = ["PerformanceMonitor"]
