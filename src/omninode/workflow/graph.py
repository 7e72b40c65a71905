"""The dependency graph of a breakdown: what may run now, and what a failure takes with it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from omninode.core.errors import InvalidArgumentError
from omninode.workflow.task import Task

__all__ = ["TaskGraph"]


class TaskGraph:
    """A validated set of tasks (unique ids, known dependencies, no cycle), consumed as its tasks end.

    Each operation costs what it touches, so 10,000 tasks in a chain are as cheap per task as ten.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._tasks = {task.id: task for task in tasks}
        self._waits_for = {task.id: set(task.depends_on) for task in tasks}
        self._followers: dict[str, list[str]] = {task.id: [] for task in tasks}
        for task in tasks:
            for dependency in task.depends_on:
                if dependency not in self._tasks:
                    raise InvalidArgumentError(f"task {task.id!r} depends on {dependency!r}, which is not there")
                self._followers[dependency].append(task.id)
        self._ended: set[str] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def roots(self) -> list[Task]:
        """The tasks that wait for nothing."""
        return [self._tasks[name] for name, waits in self._waits_for.items() if not waits]

    def succeed(self, task_id: str) -> list[Task]:
        """Mark a task as done; returns the tasks that became ready by it."""
        self._ended.add(task_id)
        ready = []
        for follower in self._followers[task_id]:
            waits = self._waits_for[follower]
            waits.discard(task_id)
            if not waits and follower not in self._ended:
                ready.append(self._tasks[follower])
        return ready

    def fail(self, task_id: str) -> list[Task]:
        """Mark a task as failed; returns everything that depends on it, directly or not, and will never run."""
        self._ended.add(task_id)
        lost: list[Task] = []
        queue = deque(self._followers[task_id])
        while queue:
            name = queue.popleft()
            if name in self._ended:
                continue
            self._ended.add(name)
            lost.append(self._tasks[name])
            queue.extend(self._followers[name])
        return lost

    def unended(self) -> list[Task]:
        """The tasks that have neither ended nor been lost."""
        return [task for name, task in self._tasks.items() if name not in self._ended]
