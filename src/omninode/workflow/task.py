"""A task, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from omninode.core.errors import OmniNodeError
from omninode.core.events import TaskStatus
from omninode.core.usage import Cost, Usage
from omninode.validation.tasks import TaskModel

__all__ = ["Task", "TaskResult"]

DEFAULT_TASK_TYPE = "general"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One unit of work of a task breakdown, done by one agent."""

    id: str
    agent: str
    description: str
    # Any: the planner decides what an agent's input looks like; it is passed on as JSON.
    input: Any = None
    depends_on: tuple[str, ...] = ()
    task_type: str = DEFAULT_TASK_TYPE

    @classmethod
    def from_model(cls, model: TaskModel) -> Task:
        """The task that a validated model describes."""
        return cls(
            id=model.id,
            agent=model.agent,
            description=model.description,
            input=model.input,
            depends_on=tuple(model.depends_on),
            task_type=model.task_type or DEFAULT_TASK_TYPE,
        )

    def as_json(self) -> Mapping[str, Any]:
        """The task as models and files see it."""
        return {
            "id": self.id,
            "agent": self.agent,
            "description": self.description,
            "input": self.input,
            "depends_on": list(self.depends_on),
            "task_type": self.task_type,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskResult:
    """How a task ended: its output, or why there is none (`failure` is the error itself, where there was one).

    `message` is what tasks that build on it are sent instead of the output, None for the output itself. `tainted_by` are
    the ids of flagged context items that had a part in it: sent to it, to the planner, or to a task it builds on; and
    the names of flagged texts of agents, `plan[id].description` and `message[id]`. `wait_ms` passed between the end of the last task it needs and its start; `duration_ms` does not contain it.
    """

    task: Task
    status: TaskStatus
    output: str = ""
    message: str | None = None
    error: str | None = None
    duration_ms: float = 0.0
    wait_ms: float = 0.0
    context_ids: tuple[str, ...] = ()
    tainted_by: tuple[str, ...] = ()
    usage: Usage = field(default_factory=Usage)
    cost: Cost | None = None
    failure: OmniNodeError | None = field(default=None, compare=False, repr=False)

    @property
    def is_ok(self) -> bool:
        """Whether the task produced its output."""
        return self.status == "ok"
