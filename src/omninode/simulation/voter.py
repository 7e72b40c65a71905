"""The simulated voter: judges by rules whether a plan covers the request it is meant for.

The judgement is real (an unrelated plan is voted down, a missing part is named); only the noise on top, larger for
models of lower quality, is drawn. A deficiency is worded the same by every voter, so that a tally can merge them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from omninode.simulation.reading import Part, parts, terms

__all__ = ["judge"]

# A part is covered by a task that has more than this share of its traits (the words of its object, and the kind of
# work: "repair the parser" covers "fix the parser", "test the parser" does not) ...
_COVERED_BY_ONE = 0.5
# ... or by several tasks that have this much of it together, if its object has words enough to be divided.
_COVERED_BY_ALL = 0.75
_DIVISIBLE_WORDS = 3
# Below this share of covered parts a plan is for something else: FAIL.
_UNRELATED = 0.25
_PASS_SCORE = 0.75


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    id: str
    agent: str
    description: str
    depends_on: tuple[str, ...]

    @property
    def traits(self) -> frozenset[str]:
        """The words of the description, and the kinds of work it names."""
        kinds = (_kind(part) for part in parts(self.description))
        return frozenset(terms(self.description)) | frozenset(kinds)


def judge(data: Mapping[str, Any], *, quality: float, random: Random) -> dict[str, Any]:
    """A voter's answer for its INPUT: decision, score, scores per criterion, confidence, deficiencies."""
    tasks = [_task(item) for item in data.get("tasks") or () if isinstance(item, dict)]
    prompt = str(data.get("prompt", ""))
    coverage, uncovered = _coverage(prompt, tasks)
    relevance, strays = _relevance(prompt, tasks)
    order, disorder = _order(tasks)
    staffing, unstaffed = _staffing(tasks, data.get("agents"))
    deficiencies = ([] if tasks else ["the plan has no tasks"]) + uncovered + strays + disorder + unstaffed
    score = 0.6 * coverage + 0.2 * relevance + 0.1 * order + 0.1 * staffing if tasks else 0.0
    noise = 1.0 - quality
    score = min(1.0, max(0.0, score + random.gauss(0.0, 0.1 * noise)))
    # A careless voter overlooks what a good one names, and now and then sees something that is not there.
    named = [item for item in deficiencies if random.random() >= 0.5 * noise]
    if tasks and not deficiencies and random.random() < 0.25 * noise:
        named.append("the plan may be too coarse")
    decision = _decide(coverage, score=score, named=named, has_tasks=bool(tasks))
    if decision != "PASS" and not named:
        named.append("the plan as a whole falls short of the request")
    certainty = abs(score - _PASS_SCORE) / _PASS_SCORE
    return {
        "decision": decision,
        "score": round(score, 3),
        "confidence": round(min(0.99, 0.5 + 0.3 * quality + 0.2 * certainty), 3),
        "deficiencies": named,
        "scores": {
            "coverage": round(coverage, 3),
            "relevance": round(relevance, 3),
            "order": round(order, 3),
            "staffing": round(staffing, 3),
        },
    }


def _decide(coverage: float, *, score: float, named: Sequence[str], has_tasks: bool) -> str:
    if has_tasks and coverage < _UNRELATED and named:
        return "FAIL"
    return "PASS" if not named and score >= _PASS_SCORE else "RETRY"


def _task(item: Mapping[str, Any]) -> _Task:
    needed = item.get("depends_on")
    return _Task(
        id=str(item.get("id", "")),
        agent=str(item.get("agent") or ""),
        description=str(item.get("description") or ""),
        depends_on=tuple(str(other) for other in needed) if isinstance(needed, list) else (),
    )


def _coverage(prompt: str, tasks: Sequence[_Task]) -> tuple[float, list[str]]:
    asked = parts(prompt)
    described = [task.traits for task in tasks]
    missing = [f"nothing covers: {part.text}" for part in asked if not _is_covered(part, described)]
    return (1.0 - len(missing) / len(asked) if asked else 1.0), missing


def _is_covered(part: Part, described: Sequence[frozenset[str]]) -> bool:
    wanted = frozenset([*part.object_terms, _kind(part)])
    by_one = max((len(wanted & traits) / len(wanted) for traits in described), default=0.0)
    if by_one > _COVERED_BY_ONE:
        return True
    together = frozenset().union(*described)
    by_all = len(wanted & together) / len(wanted)
    return len(part.object_terms) >= _DIVISIBLE_WORDS and by_all >= _COVERED_BY_ALL


def _kind(part: Part) -> str:
    # A space, so that it never equals a word.
    return f"kind {part.kind}"


def _relevance(prompt: str, tasks: Sequence[_Task]) -> tuple[float, list[str]]:
    wanted = frozenset(terms(prompt))
    strays = [task for task in tasks if wanted and not wanted & task.traits]
    share = 1.0 - len(strays) / len(tasks) if tasks else 0.0
    return share, [f"task {task.id!r} has nothing to do with the request: {task.description[:80]}" for task in strays]


def _order(tasks: Sequence[_Task]) -> tuple[float, list[str]]:
    known = {task.id for task in tasks}
    found = [
        f"task {task.id!r} depends on {other!r}, which is not in the plan"
        for task in tasks
        for other in task.depends_on
        if other not in known
    ]
    if len(known) < len(tasks):
        found.append("two tasks have the same id")
    if cycle := _cycle({task.id: [other for other in task.depends_on if other in known] for task in tasks}):
        found.append(f"tasks depend on each other in a circle: {', '.join(cycle)}")
    return (0.0 if found else 1.0), found


def _cycle(needs: Mapping[str, Sequence[str]]) -> list[str]:
    """The tasks left over when those whose needs are met are taken away again and again; in the plan's order."""
    left = dict(needs)
    while True:
        ready = [name for name, others in left.items() if not any(other in left for other in others)]
        if not ready:
            return list(left)
        for name in ready:
            del left[name]


def _staffing(tasks: Sequence[_Task], agents: object) -> tuple[float, list[str]]:
    listed = agents if isinstance(agents, list) else []
    offered = {str(item.get("name") if isinstance(item, dict) else item) for item in listed}
    found = []
    for task in tasks:
        if not task.agent:
            found.append(f"task {task.id!r} names no agent")
        elif offered and task.agent not in offered:
            found.append(f"task {task.id!r} names an agent that does not exist: {task.agent}")
    return (1.0 - len(found) / len(tasks) if tasks else 0.0), found
