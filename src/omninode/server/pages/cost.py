"""Cost: who spends what, and what has no known price."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from omninode.analytics.costs import CostAnalytics, CostLine
from omninode.server.pages.question import Panel, Question

__all__ = ["load"]


async def load(question: Question) -> Panel:
    """Spending by model, agent, role and day, with the unpriced part beside each."""
    analytics = CostAnalytics(question.database)
    summary = await analytics.summary(period=question.period)
    models = _shares(await analytics.by("model", period=question.period))
    known = {row["model"]: row for row in await question.windowed("server_cost.models")}
    for model in models:
        seen = known.get(model["name"], {})
        model |= {"is_simulated": seen.get("is_simulated", False), "last_at": seen.get("last_at")}
    agents = await analytics.by("agent", period=question.period)
    return {
        "summary": asdict(summary),
        "per_hour_uusd": summary.cost_uusd / question.elapsed_h,
        "cache_hits": sum(model["cache_hits"] for model in models),
        "models": models,
        # Calls that no agent made are told by their role.
        "agents": _shares([line for line in agents if line.name]),
        "roles": _shares(await analytics.by("role", period=question.period)),
        "days": _shares(await analytics.by("day", period=question.period)),
        "newest": max((model["last_at"] for model in models if model["last_at"]), default=None),
    }


def _shares(lines: Sequence[CostLine]) -> list[Panel]:
    total = sum(line.cost_uusd for line in lines)
    return [{**asdict(line), "share": line.cost_uusd / total if total else None} for line in lines]
