"""Phase three: a model turns the request into tasks, parsed strictly.

A malformed answer goes back with what was wrong with it, at most twice; then the run fails rather than guess. So does
a plan that the policy refuses: what a model was talked into is not what the agents are told to do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson

from omninode.context.item import ContextItem
from omninode.core.errors import InputRefusedError, MalformedAnswerError
from omninode.routing.router import Router
from omninode.validation.report import Action
from omninode.validation.tasks import parse_tasks
from omninode.workflow.agent import AgentCatalog
from omninode.workflow.guard import Marks, RunGuard
from omninode.workflow.prompts import planner_request
from omninode.workflow.task import Task

__all__ = ["Decomposer"]

MAX_REPAIRS = 2
_FENCE = re.compile(r"^\s*```(?:json)?\s*\n(.*?)\n\s*```\s*$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Decomposer:
    """Asks a planner for task breakdowns."""

    router: Router
    agents: AgentCatalog
    marks: Marks = field(default_factory=Marks)
    guard: RunGuard | None = None

    async def decompose(
        self, prompt: str, *, context: Sequence[ContextItem], deficiencies: Sequence[str] = ()
    ) -> tuple[Task, ...]:
        """The tasks for `prompt`.

        Raises MalformedAnswerError when no answer could be read as tasks, InputRefusedError when the last plan that
        could was refused.
        """
        feedback = list(deficiencies)
        if self.guard is not None:
            self.guard.plan_taint |= {item.id for item in context if item.is_flagged}
        for _ in range(MAX_REPAIRS + 1):
            prepared = planner_request(
                prompt, agents=self.agents.values(), context=context, deficiencies=feedback, marks=self.marks
            )
            # A repeated question wants another answer than the one the cache holds, even in the same words.
            completion = await self.router.complete(prepared.request, role="planner", use_cache=not feedback)
            tasks, problems = read_breakdown(completion.text, self.agents)
            is_refused = False
            if self.guard is not None:
                await self.guard.checked(completion.text, prepared=prepared, path="plan", is_plan=True)
                tasks, refusals = await self.guard.screened_plan(list(map(self.guard.cleaned_task, tasks)))
                is_refused, problems = bool(refusals), problems + refusals
            if not problems:
                return tasks
            if completion.cache_key is not None:
                self.router.forget([completion.cache_key])
            feedback = [*deficiencies, *problems]
        if is_refused:
            raise InputRefusedError(
                f"the plan was refused after {MAX_REPAIRS + 1} tries: {problems[0]}; look at the context it was made "
                "from, or pass the tasks with --tasks",
                findings=tuple(self.guard.findings) if self.guard is not None else (),
            )
        raise MalformedAnswerError(
            f"the planner's answer could not be used after {MAX_REPAIRS + 1} tries: {problems[0]}; "
            "choose a stronger model for the role planner, or pass the tasks with --tasks"
        )


def read_breakdown(text: str, agents: AgentCatalog) -> tuple[tuple[Task, ...], list[str]]:
    """The tasks in a planner's answer, or what is wrong with it."""
    fenced = _FENCE.match(text)
    try:
        data = orjson.loads(fenced.group(1) if fenced else text)
    except orjson.JSONDecodeError as error:
        return (), [f"the answer was not one JSON object ({error})"]
    models, findings = parse_tasks(data, known_agents=frozenset(agents))
    problems = [str(finding) for finding in findings if finding.action is Action.BLOCK]
    if problems:
        return (), problems
    if not models:
        return (), ["the answer held no task"]
    return tuple(Task.from_model(model) for model in models), []
