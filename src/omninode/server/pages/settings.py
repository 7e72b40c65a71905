"""Settings: every value with where it came from; secrets arrive here masked."""

from __future__ import annotations

from dataclasses import asdict

from omninode.server.pages.question import Panel, Question
from omninode.server.pages.reliability import local

__all__ = ["load"]


async def load(question: Question) -> Panel:
    """The settings, and what this process knows of itself."""
    return {
        "settings": [asdict(setting) for setting in question.node.settings()],
        "resources": dict(question.node.resources()),
        **local(question),
    }
