"""Agents: who is really better at what, and how sure that is."""

from __future__ import annotations

from typing import Final

from omninode.analytics.agents import AgentAnalytics
from omninode.server.pages.question import Panel, Question

__all__ = ["load"]

_RECOMMENDED: Final = 3


async def load(question: Question) -> Panel:
    """Every agent by the lower end of its interval, and who is recommended for each task type and why."""
    analytics = AgentAnalytics(question.database)
    agents = await analytics.leaderboard(period=question.period)
    types = await question.windowed("server_agents.task_types")
    recommendations = [
        await analytics.get_agent_recommendations(row["task_type"], limit=_RECOMMENDED, period=question.period)
        for row in types
    ]
    return {
        "agents": agents,
        "recommendations": [
            # A Sequence would be written as a list and lose its note.
            {"task_type": found.task_type, "note": found.note, "basis": found.basis, "agents": found.items}
            for found in recommendations
        ],
        "n": sum(agent.samples for agent in agents),
    }
