"""Signpost: how agents do, and which to take, lives in `omninode.analytics`."""

from omninode import AgentAnalytics, get_agent_recommendations, track_agent_performance

__all__ = ["AgentAnalytics", "get_agent_recommendations", "track_agent_performance"]
