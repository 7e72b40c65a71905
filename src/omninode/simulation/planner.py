"""The simulated planner: splits the real request into real tasks for the agents it is offered."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from omninode.simulation.reading import Kind, Part, parts, terms

__all__ = ["plan"]

# Words by which an agent shows that a kind of work is its own; compared as stems with its name, purpose, task types.
_KIND_WORDS: dict[Kind, str] = {
    "code": "code coding coder implement implementation develop developer feature refactor programming write build",
    "debug": "debug debugging debugger fix bug diagnose repair troubleshoot error failure",
    "test": "test testing tester tests coverage verify quality qa check",
    "research": "research researcher investigate analysis analyse explain find search summarise understand question",
    "review": "review reviewer audit inspect critique security",
    "document": "document documentation writer write docs research",
}
_KIND_STEMS: dict[Kind, frozenset[str]] = {kind: frozenset(terms(words)) for kind, words in _KIND_WORDS.items()}
_TYPE_OF: dict[Kind, str] = {
    "code": "code",
    "debug": "debug",
    "test": "test",
    "research": "research",
    "review": "review",
    "document": "document",
}
_PRONOUN = re.compile(r"\b(?:it|them|this|that|these|those)\b", re.IGNORECASE)
_MAX_TASKS = 24


def plan(data: Mapping[str, Any], *, quality: float, random: Random) -> dict[str, Any]:
    """`{"tasks": […]}` for a planner's INPUT.

    A model of lower quality sometimes forgets a part of a request that has several. It never does once it is told of
    deficiencies: feedback helps, as it should.
    """
    asked = list(parts(str(data.get("prompt", ""))))[:_MAX_TASKS]
    if not data.get("deficiencies"):
        asked = _remembered(asked, quality=quality, random=random)
    # "Review last": in the order of the plan as well as in its dependencies.
    asked.sort(key=lambda part: part.kind == "review")
    agents = [agent for agent in data.get("agents") or () if isinstance(agent, dict) and agent.get("name")]
    context = [item for item in data.get("context") or () if isinstance(item, dict)]
    tasks: list[dict[str, Any]] = []
    for number, part in enumerate(asked, 1):
        agent, task_type = _assign(part, agents)
        tasks.append(
            {
                "id": f"t{number}",
                "agent": agent,
                "description": _description(asked, number - 1),
                "input": _input(part, context),
                "depends_on": _dependencies(asked, number - 1),
                "task_type": task_type,
            }
        )
    return {"tasks": tasks}


def _remembered(asked: list[Part], *, quality: float, random: Random) -> list[Part]:
    kept = [part for part in asked if random.random() >= (1.0 - quality) * 0.5]
    return kept or asked[:1]


def _description(asked: Sequence[Part], index: int) -> str:
    """The words of the request; "test it" also says what came before, since a worker sees its own task only."""
    text = asked[index].text
    if index and _PRONOUN.search(text):
        return f"{text} (after: {asked[index - 1].text})"
    return text


def _assign(part: Part, agents: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """The agent whose description fits the kind of work best (then the words of the part), and the task's type."""
    if not agents:
        return part.kind, _TYPE_OF[part.kind]
    wanted, words = _KIND_STEMS[part.kind], set(terms(part.text))
    # max keeps the first of equals, so the order of the offered list decides ties.
    best = max(agents, key=lambda agent: _fit(agent, wanted, words))
    types = [str(item) for item in best.get("task_types") or ()]
    ranked = sorted(types, key=lambda item: -len(wanted & set(terms(item))))
    return str(best["name"]), ranked[0] if ranked else _TYPE_OF[part.kind]


def _fit(agent: Mapping[str, Any], wanted: frozenset[str], words: set[str]) -> float:
    types = set(terms(" ".join(str(item) for item in agent.get("task_types") or ())))
    name = set(terms(str(agent["name"])))
    purpose = set(terms(str(agent.get("purpose", ""))))
    return 3.0 * len(wanted & types) + 3.0 * len(wanted & name) + len(wanted & purpose) + 0.5 * len(words & purpose)


def _dependencies(asked: Sequence[Part], index: int) -> list[str]:
    part, before = asked[index], asked[:index]
    if part.kind == "review":
        wanted = [number for number, earlier in enumerate(before) if earlier.kind != "review"]
    elif part.kind in {"test", "document"}:
        wanted = [number for number, earlier in enumerate(before) if earlier.kind in {"code", "debug"}]
    elif part.kind in {"code", "debug"}:
        wanted = [number for number, earlier in enumerate(before) if earlier.kind == "research"]
    else:
        wanted = []
    # "Write tests for them": what "them" is, the part before says.
    leans_back = part.follows or (part.kind == "test" and _PRONOUN.search(part.text) is not None)
    if leans_back and before and index - 1 not in wanted:
        wanted.append(index - 1)
    return [f"t{number + 1}" for number in sorted(wanted)]


def _input(part: Part, context: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the worker should look at: the titles of the context items that share most words with the part."""
    words = set(terms(part.text))
    scored = []
    for item in context:
        title = str(item.get("title", ""))
        overlap = 2 * len(words & set(terms(title))) + len(words & set(terms(str(item.get("content", ""))[:2000])))
        if title and overlap:
            scored.append((-overlap, title))
    look_at = [title for _, title in sorted(scored)[:3]]
    return {"look_at": look_at} if look_at else {}
