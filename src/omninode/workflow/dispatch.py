"""Running a task graph: as parallel as the graph and the limit allow.

A failed task takes with it only what depends on it. A task that ends while others run starts its followers at once;
there are no levels that wait for their slowest member.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence

from omninode.core.concurrency import cancel_and_wait
from omninode.core.deadline import Deadline
from omninode.core.errors import InvalidArgumentError
from omninode.workflow.graph import TaskGraph
from omninode.workflow.task import Task, TaskResult

__all__ = ["dispatch"]

Execute = Callable[[Task, Mapping[str, TaskResult]], Awaitable[TaskResult]]


async def dispatch(
    tasks: Sequence[Task], execute: Execute, *, max_concurrency: int, deadline: Deadline | None = None
) -> list[TaskResult]:
    """How each task ended, in the order of `tasks`.

    `execute` gets a task and the results of what it depends on, and returns its result; it reports failures in the
    result and raises only for cancellation and defects. At the deadline running tasks are cancelled and count as
    failed, waiting ones as skipped.
    """
    if max_concurrency < 1:
        raise InvalidArgumentError(f"max_concurrency is {max_concurrency}; allow at least one task at a time")
    dispatcher = _Dispatcher(tasks, execute, max_concurrency)
    return await dispatcher.run(deadline)


class _Dispatcher:
    def __init__(self, tasks: Sequence[Task], execute: Execute, max_concurrency: int) -> None:
        self._tasks = tasks
        self._graph = TaskGraph(tasks)
        self._execute = execute
        self._max_concurrency = max_concurrency
        self._ready: deque[Task] = deque(self._graph.roots())
        self._running: dict[asyncio.Task[TaskResult], Task] = {}
        self._results: dict[str, TaskResult] = {}

    async def run(self, deadline: Deadline | None) -> list[TaskResult]:
        try:
            self._start()
            while self._running:
                timeout = None if deadline is None else deadline.remaining()
                done, _ = await asyncio.wait(self._running, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                for finished in done:
                    self._record(self._running.pop(finished), finished.result())
                if deadline is not None and deadline.has_passed:
                    break
                self._start()
        finally:
            cut_off = list(self._running.values())
            await cancel_and_wait(self._running)
        for task in cut_off:
            self._record(task, TaskResult(task=task, status="failed", error="cut off by the run's deadline"))
        for task in self._graph.unended():
            self._results[task.id] = TaskResult(task=task, status="skipped", error="the run's deadline came first")
        return [self._results[task.id] for task in self._tasks]

    def _start(self) -> None:
        while self._ready and len(self._running) < self._max_concurrency:
            task = self._ready.popleft()
            inputs = {name: self._results[name] for name in task.depends_on}
            running = asyncio.ensure_future(self._execute(task, inputs))
            self._running[running] = task

    def _record(self, task: Task, result: TaskResult) -> None:
        self._results[task.id] = result
        if result.is_ok:
            self._ready.extend(self._graph.succeed(task.id))
            return
        for lost in self._graph.fail(task.id):
            self._results[lost.id] = TaskResult(
                task=lost, status="skipped", error=f"it depends on {task.id!r}, which {_ended(result)}"
            )


def _ended(result: TaskResult) -> str:
    return "was skipped" if result.status == "skipped" else "failed"
