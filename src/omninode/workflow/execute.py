"""Phase five, one task: its agent, its share of the context, one model call, and the outcome for analytics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from omninode.context.item import ContextItem
from omninode.context.learn import cited
from omninode.context.pack import Shares
from omninode.core import current
from omninode.core.clock import Clock
from omninode.core.errors import DefectError, OmniNodeError
from omninode.core.events import AgentOutcome, EventSink, TaskFinished, TaskStarted, TaskStatus
from omninode.routing.completion import Completion
from omninode.routing.router import Router
from omninode.workflow.agent import AgentCatalog
from omninode.workflow.prompts import worker_request
from omninode.workflow.task import Task, TaskResult

__all__ = ["TaskRunner"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRunner:
    """Runs single tasks of one run."""

    router: Router
    agents: AgentCatalog
    sink: EventSink
    clock: Clock
    prompt: str
    shares: Shares
    context_tokens: int

    async def run(self, task: Task, results: Mapping[str, TaskResult]) -> TaskResult:
        """How `task` ended; a failure is in the result, only cancellation is raised."""
        with current.entered(task_id=task.id, agent_id=task.agent):
            scope = current.scope()
            self.sink.emit(
                TaskStarted(
                    run_id=scope.run_id,
                    phase=scope.phase,
                    task_id=task.id,
                    agent_id=task.agent,
                    description=task.description,
                )
            )
            began = self.clock.monotonic()
            try:
                completion, context = await self._work(task, results)
            except OmniNodeError as error:
                return self._ended(task, began, status="failed", error=error)
            except BaseException:
                self._ended(task, began, status="cancelled")
                raise
            return self._ended(task, began, status="ok", completion=completion, context=context)

    async def _work(self, task: Task, results: Mapping[str, TaskResult]) -> tuple[Completion, Sequence[ContextItem]]:
        agent = self.agents.get(task.agent)
        if agent is None:
            raise DefectError(f"task {task.id!r} names agent {task.agent!r}, which validation should have refused")
        context = self.shares.share(task.description, self.context_tokens).items
        request = worker_request(task, agent=agent, prompt=self.prompt, context=context, results=results)
        completion = await self.router.complete(
            request, role="worker", deployment=agent.deployment, agent_id=agent.name, task_id=task.id
        )
        return completion, context

    def _ended(
        self,
        task: Task,
        began: float,
        *,
        status: TaskStatus,
        completion: Completion | None = None,
        context: Sequence[ContextItem] = (),
        error: OmniNodeError | None = None,
    ) -> TaskResult:
        duration_ms = (self.clock.monotonic() - began) * 1000
        output = completion.text if completion else ""
        result = TaskResult(
            task=task,
            status=status,
            output=output,
            error=error.message if error else None,
            duration_ms=duration_ms,
            context_ids=self._drawn_on(task, output, context),
        )
        report_task(result, sink=self.sink)
        if status != "cancelled":
            self._report_agent(result, completion, error)
        return result

    def _drawn_on(self, task: Task, output: str, context: Sequence[ContextItem]) -> tuple[str, ...]:
        known = f"{self.prompt}\n{task.description}"
        return tuple(citation.item_id for citation in cited(context, output, ignoring=known))

    def _report_agent(self, result: TaskResult, completion: Completion | None, error: OmniNodeError | None) -> None:
        scope = current.scope()
        usage = completion.usage if completion else None
        self.sink.emit(
            AgentOutcome(
                run_id=scope.run_id,
                phase=scope.phase,
                agent_id=result.task.agent,
                task_type=result.task.task_type,
                success=result.is_ok,
                duration_ms=result.duration_ms,
                tokens_in=usage.input_tokens if usage else 0,
                tokens_out=usage.output_tokens if usage else 0,
                cost_uusd=completion.cost.micro_usd if completion and completion.cost.is_complete else None,
                error_class=type(error).__name__ if error else None,
                metadata={"task_id": result.task.id},
            )
        )


def report_task(result: TaskResult, *, sink: EventSink) -> None:
    """Emit how a task ended; tasks that never started are told here too."""
    scope = current.scope()
    sink.emit(
        TaskFinished(
            run_id=scope.run_id,
            phase=scope.phase,
            task_id=result.task.id,
            agent_id=result.task.agent,
            task_type=result.task.task_type,
            description=result.task.description,
            depends_on=result.task.depends_on,
            status=result.status,
            duration_ms=result.duration_ms,
            output=result.output or None,
            error=result.error,
        )
    )
