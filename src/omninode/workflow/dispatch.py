"""Running a task graph: as parallel as the graph and the limit allow.

A failed task takes with it only what depends on it. A task that ends while others run starts its followers at once;
there are no levels that wait for their slowest member. Each ending is told once, as soon as it is known.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from omninode.core.clock import Clock, SystemClock
from omninode.core.concurrency import cancel_and_wait
from omninode.core.deadline import Deadline
from omninode.core.errors import DeadlineExceededError, DefectError, InvalidArgumentError, OmniNodeError
from omninode.core.events import TaskStatus
from omninode.workflow.graph import TaskGraph
from omninode.workflow.task import Task, TaskResult

__all__ = ["dispatch"]

Execute = Callable[[Task, Mapping[str, TaskResult]], Awaitable[TaskResult]]
Tell = Callable[[TaskResult], None]


async def dispatch(
    tasks: Sequence[Task],
    execute: Execute,
    *,
    max_concurrency: int,
    deadline: Deadline | None = None,
    clock: Clock | None = None,
    tell: Tell | None = None,
) -> list[TaskResult]:
    """How each task ended, in the order of `tasks`.

    `execute` gets a task and the results of what it depends on, and returns its result; it reports failures in the
    result and raises only for cancellation and defects. At the deadline running tasks are cancelled and count as
    failed, waiting ones as skipped. `tell` gets every result, with the time the task waited for its start; when the
    caller is cancelled, it gets the tasks that were running as cancelled.
    """
    if max_concurrency < 1:
        raise InvalidArgumentError(f"max_concurrency is {max_concurrency}; allow at least one task at a time")
    dispatcher = _Dispatcher(tasks, execute, max_concurrency, clock=clock or SystemClock(), tell=tell)
    return await dispatcher.run(deadline)


@dataclass(frozen=True, slots=True)
class _Start:
    """A task that was started: when, and how long it had been ready by then."""

    task: Task
    at: float
    wait_ms: float


class _Dispatcher:
    def __init__(
        self, tasks: Sequence[Task], execute: Execute, max_concurrency: int, *, clock: Clock, tell: Tell | None
    ) -> None:
        self._tasks = tasks
        self._graph = TaskGraph(tasks)
        self._execute = execute
        self._max_concurrency = max_concurrency
        self._clock = clock
        self._tell = tell
        self._ready: deque[tuple[Task, float]] = deque()
        self._running: dict[asyncio.Task[TaskResult], _Start] = {}
        self._results: dict[str, TaskResult] = {}
        self._make_ready(self._graph.roots())

    async def run(self, deadline: Deadline | None) -> list[TaskResult]:
        try:
            await self._run_until(deadline)
            await self._cut_off()
        except BaseException:
            await self._give_up()
            raise
        return [self._results[task.id] for task in self._tasks]

    async def _run_until(self, deadline: Deadline | None) -> None:
        self._start()
        while self._running:
            timeout = None if deadline is None else deadline.remaining()
            done, _ = await asyncio.wait(self._running, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            for finished in done:
                result = finished.result()
                self._record(result, self._running.pop(finished))
            if deadline is not None and deadline.has_passed:
                return
            self._start()

    def _start(self) -> None:
        while self._ready and len(self._running) < self._max_concurrency:
            task, since = self._ready.popleft()
            inputs = {name: self._results[name] for name in task.depends_on}
            now = self._clock.monotonic()
            running = asyncio.ensure_future(self._execute(task, inputs))
            self._running[running] = _Start(task, now, (now - since) * 1000)

    def _make_ready(self, tasks: Iterable[Task]) -> None:
        now = self._clock.monotonic()
        self._ready.extend((task, now) for task in tasks)

    async def _cut_off(self) -> None:
        """The deadline came: end what runs and skip what waits. Does nothing when all tasks have ended."""
        await cancel_and_wait(self._running)
        for running in list(self._running):
            failure = DeadlineExceededError("cut off by the run's deadline; allow more time")
            # One that ended in the same moment keeps its result.
            result = None if running.cancelled() else running.result()
            start = self._running.pop(running)
            self._record(result or self._ended(start, "failed", failure), start)
        for task in self._graph.unended():
            late = DeadlineExceededError("the run's deadline came first; allow more time")
            self._keep(TaskResult(task=task, status="skipped", error=late.message, failure=late))

    async def _give_up(self) -> None:
        """The caller was cancelled, or a task had a defect: end what runs, and tell it."""
        await cancel_and_wait(self._running)
        for running, start in self._running.items():
            defect = None if running.cancelled() else running.exception()
            if defect is None:
                self._keep(self._ended(start, "cancelled", None))
            else:
                failure = DefectError(f"a defect ended it: {type(defect).__name__}: {defect}")
                self._keep(self._ended(start, "failed", failure))

    def _ended(self, start: _Start, status: TaskStatus, failure: OmniNodeError | None) -> TaskResult:
        return TaskResult(
            task=start.task,
            status=status,
            error=failure.message if failure else None,
            failure=failure,
            duration_ms=(self._clock.monotonic() - start.at) * 1000,
            wait_ms=start.wait_ms,
        )

    def _record(self, result: TaskResult, start: _Start) -> None:
        self._keep(replace(result, wait_ms=start.wait_ms))
        name = result.task.id
        if result.is_ok:
            self._make_ready(self._graph.succeed(name))
            return
        for lost in self._graph.fail(name):
            self._keep(TaskResult(task=lost, status="skipped", error=f"it depends on {name!r}, which failed"))

    def _keep(self, result: TaskResult) -> None:
        self._results[result.task.id] = result
        if self._tell is not None:
            self._tell(result)
