"""Phase five, one task: its agent, its share of the context, one model call, and the outcome for analytics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from omninode.context.item import ContextItem
from omninode.context.learn import cited
from omninode.context.optimizer import ContextOptimizer
from omninode.context.pack import Shares
from omninode.core import current
from omninode.core.clock import Clock
from omninode.core.errors import DefectError, OmniNodeError
from omninode.core.events import AgentOutcome, EventSink, TaskFinished, TaskStarted
from omninode.routing.completion import Completion
from omninode.routing.router import Router
from omninode.telemetry.errors import tell_error
from omninode.workflow.agent import AgentCatalog
from omninode.workflow.guard import Marks, RunGuard
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
    optimizer: ContextOptimizer
    shares: Shares
    context_tokens: int
    guard: RunGuard
    marks: Marks
    # The tasks whose answers others are sent.
    relied_on: frozenset[str] = frozenset()

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
                completion, output, context = await self._work(task, results)
            except OmniNodeError as error:
                return TaskResult(
                    task=task,
                    status="failed",
                    error=error.message,
                    failure=error,
                    duration_ms=(self.clock.monotonic() - began) * 1000,
                )
            return TaskResult(
                task=task,
                status="ok",
                output=output,
                message=await self._message(task, output),
                duration_ms=(self.clock.monotonic() - began) * 1000,
                context_ids=self._drawn_on(task, completion.text, context),
                tainted_by=self.guard.taint([item.id for item in context], results),
                usage=completion.usage,
                cost=completion.cost,
            )

    def tell(self, result: TaskResult) -> None:
        """Emit how a task ended, and how its agent did if it was the agent's doing."""
        scope = current.scope()
        self.sink.emit(
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
                wait_ms=result.wait_ms,
                output=result.output or None,
                error=result.error,
            )
        )
        if result.status in {"ok", "failed"}:
            self._tell_agent(result)
        if result.status == "failed" and result.failure is not None:
            with current.entered(task_id=result.task.id, agent_id=result.task.agent):
                context = {"task_type": result.task.task_type}
                tell_error(self.sink, result.failure, where="workflow.execute", context=context)

    async def _work(
        self, task: Task, results: Mapping[str, TaskResult]
    ) -> tuple[Completion, str, Sequence[ContextItem]]:
        """The answer as it came, as it may be shown, and the context that was sent."""
        agent = self.agents.get(task.agent)
        if agent is None:
            raise DefectError(f"task {task.id!r} names agent {task.agent!r}, which validation should have refused")
        share = await self.optimizer.optimize_context_for_task(
            task.description, self.shares, task_type=task.task_type, budget_tokens=self.context_tokens
        )
        context = share.items
        self.guard.check_messages(results)
        prepared = worker_request(
            task, agent=agent, prompt=self.prompt, context=context, results=results, marks=self.marks
        )
        completion = await self.router.complete(
            prepared.request, role="worker", deployment=agent.deployment, agent_id=agent.name, task_id=task.id
        )
        output = await self.guard.checked(completion.text, prepared=prepared, path=f"output[{task.id}]")
        return completion, output, context

    async def _message(self, task: Task, output: str) -> str | None:
        return await self.guard.message(output, task_id=task.id) if task.id in self.relied_on else None

    def _drawn_on(self, task: Task, output: str, context: Sequence[ContextItem]) -> tuple[str, ...]:
        known = f"{self.prompt}\n{task.description}"
        return tuple(citation.item_id for citation in cited(context, output, ignoring=known))

    def _tell_agent(self, result: TaskResult) -> None:
        scope = current.scope()
        self.sink.emit(
            AgentOutcome(
                run_id=scope.run_id,
                phase=scope.phase,
                agent_id=result.task.agent,
                task_type=result.task.task_type,
                success=result.is_ok,
                duration_ms=result.duration_ms,
                tokens_in=result.usage.input_tokens,
                tokens_out=result.usage.output_tokens,
                cost_uusd=result.cost.micro_usd if result.cost and result.cost.is_complete else None,
                error_class=type(result.failure).__name__ if result.failure else None,
                metadata={"task_id": result.task.id},
            )
        )
