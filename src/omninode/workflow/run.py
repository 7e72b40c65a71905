"""One run in progress: the seven phases in their order, and what ends a run early.

What a phase does is written in the room it belongs to. Every run ends in a `RunFinished` event, whether it was done,
refused, voted down, failed or cancelled.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace

from omninode.context.item import ContextItem, GatheredContext
from omninode.context.pack import Shares, pack
from omninode.core import current
from omninode.core.deadline import Deadline, within
from omninode.core.errors import DeadlineExceededError, InputRefusedError, OmniNodeError, QuorumFailedError
from omninode.core.events import Audited, PhaseFinished, RunFinished, RunStarted, RunStatus
from omninode.core.ids import uuid7
from omninode.monitoring.monitor import OpenPhase
from omninode.quorum.result import QuorumResult
from omninode.quorum.vote import Decision
from omninode.telemetry.errors import tell_error
from omninode.validation.report import Action, Finding
from omninode.validation.validator import InputValidator
from omninode.workflow.aggregate import join_outputs, summarise_models
from omninode.workflow.decompose import Decomposer
from omninode.workflow.dispatch import dispatch
from omninode.workflow.execute import TaskRunner
from omninode.workflow.guard import RunGuard
from omninode.workflow.ledger import RunLedger
from omninode.workflow.output import write_outputs
from omninode.workflow.parts import Parts, PipelineLimits, RunRequest
from omninode.workflow.report import PhaseLine, RunReport
from omninode.workflow.task import Task, TaskResult

__all__ = ["RunInProgress"]

MAX_REPLANS = 2


class RunInProgress:
    """One run in progress: what it knows so far."""

    def __init__(self, parts: Parts, limits: PipelineLimits, request: RunRequest) -> None:
        self.run_id = uuid7()
        self.ledger = RunLedger(self.run_id)
        self._parts = parts
        self._limits = limits
        self._request = request
        self._began = parts.clock.monotonic()
        self._started_at = parts.clock.now()
        self._started_ns = time.time_ns()
        self._prompt = ""
        # What the policy says of the run's route holds for all that is judged in it.
        self._validator = InputValidator(parts.validator.policy.for_route(request.route), clock=parts.clock)
        self._guard = RunGuard(self._validator, vault=parts.open_vault() if parts.open_vault else None)
        self._items: dict[str, ContextItem] = {}
        self._findings: tuple[Finding, ...] = ()
        self._gathered: GatheredContext | None = None
        self._quorum: QuorumResult | None = None
        self._results: Sequence[TaskResult] = ()
        self._result = ""
        self._unwritten: str | None = None

    async def complete(self) -> RunReport:
        try:
            return self._guard.restored(await self._completed())
        finally:
            self._guard.close()

    async def _completed(self) -> RunReport:
        self._prompt = self._guard.told(self._request.prompt)
        self._emit_started()
        try:
            await self._go_through_phases()
        except asyncio.CancelledError:
            self._finished("cancelled", OmniNodeError("cancelled before it was done"))
            raise
        except OmniNodeError as error:
            if isinstance(error, InputRefusedError):
                self._tell_refusal()
            tell_error(self._parts.sink, error, where="workflow.pipeline")
            return self._finished(self._status_of(error), error)
        except BaseException as error:
            self._finished("failed", OmniNodeError(f"a defect ended the run: {type(error).__name__}: {error}"))
            raise
        return self._finished(self._outcome(), None)

    async def _go_through_phases(self) -> None:
        given = await self._validate_input()
        context = await self._gather_context()
        tasks = await self._agree_on_tasks(given, context)
        await self._execute(tasks, context)
        await self._aggregate()
        await self._report()

    async def _validate_input(self) -> tuple[Task, ...] | None:
        async with self._phase("input_validation"):
            report = await self._validator.validate_and_sanitize(
                user_prompt=self._request.prompt,
                tasks_data=self._request.tasks,
                placeholders=self._guard.placeholders,
            )
            self._findings = report.deficiencies
            if not report.is_valid:
                raise InputRefusedError(_refusal(report.deficiencies), findings=report.deficiencies)
            self._prompt = report.sanitized_prompt
            self._guard.know_hosts_of(self._prompt)
            if self._request.tasks is None:
                return None
            return tuple(Task.from_model(model) for model in report.sanitized_tasks or ())

    async def _gather_context(self) -> Sequence[ContextItem]:
        async with self._phase("context_gathering"):
            gatherer = self._parts.gatherer_for(self._request.workspace)
            scope_deadline = current.scope().deadline
            limit = Deadline.after(self._limits.gather_timeout_s, clock=self._parts.clock).narrowed(scope_deadline)
            self._gathered = await gatherer.gather_global_context(
                self._prompt,
                [self._guard.told(query) for query in self._request.rag_queries or ()],
                self._limits.max_rag_results,
                deadline=limit,
            )
            return await self._trusted(list(self._gathered.values()))

    async def _trusted(self, items: list[ContextItem]) -> Sequence[ContextItem]:
        """The items that validation lets pass; a flagged one is dropped and reported, the run goes on."""
        # The name of a file is a title as well: whoever may put a file there chose it.
        titles = {_title_of(item): item.title for item in items if item.title}
        report = await self._validator.validate_and_sanitize(
            self._prompt,
            context_items=[*items, *titles.items()],
            placeholders=self._guard.placeholders,
        )
        self._findings += tuple(finding for finding in report.deficiencies if finding.path.startswith("context"))
        if not report.is_valid:
            # Only a policy that says so of its own refuses a run for its context.
            raise InputRefusedError(_refusal(report.deficiencies), findings=report.deficiencies)
        passed, flagged = report.sanitized_items, set(report.flagged_items)
        kept = [
            replace(
                item,
                content=passed[item.id],
                title=passed.get(_title_of(item), item.title),
                is_flagged=not flagged.isdisjoint((item.id, _title_of(item))),
            )
            for item in items
            if item.id in passed and (_title_of(item) in passed or _title_of(item) not in titles)
        ]
        self._items = {item.id: item for item in kept}
        self._guard.flagged = frozenset(item.id for item in kept if item.is_flagged)
        return kept

    async def _agree_on_tasks(self, given: tuple[Task, ...] | None, context: Sequence[ContextItem]) -> tuple[Task, ...]:
        """The tasks that the quorum passed: given ones get one vote, planned ones may be replanned."""
        attempt = 1
        deficiencies: tuple[str, ...] = ()
        while True:
            tasks = given or await self._decompose(context, deficiencies, attempt)
            self._quorum = None
            self._quorum = quorum = await self._vote(tasks, attempt)
            if quorum.decision is Decision.PASS:
                return tasks
            # The same prompt again is to be planned and judged afresh, not voted down from the cache.
            self._parts.router.forget(self.ledger.cache_keys("planner", "voter"))
            if given or quorum.decision is Decision.FAIL or attempt > MAX_REPLANS:
                raise QuorumFailedError(
                    _rejection(quorum, attempt, is_given=bool(given)), deficiencies=quorum.deficiencies
                )
            deficiencies = tuple(await self._guard.passed_on(quorum.deficiencies))
            attempt += 1

    async def _decompose(
        self, context: Sequence[ContextItem], deficiencies: Sequence[str], attempt: int
    ) -> tuple[Task, ...]:
        async with self._phase("task_decomposition", attempt=attempt):
            shown = _within_budget(context, self._limits.planner_context_tokens)
            decomposer = Decomposer(self._parts.router, self._parts.agents, self._parts.marks, self._guard)
            return await decomposer.decompose(self._prompt, context=shown, deficiencies=deficiencies)

    async def _vote(self, tasks: Sequence[Task], attempt: int) -> QuorumResult:
        async with self._phase("quorum_validation", attempt=attempt):
            return await self._parts.quorum.validate_intent(
                self._prompt, [task.as_json() for task in tasks], round=attempt
            )

    async def _execute(self, tasks: Sequence[Task], context: Sequence[ContextItem]) -> None:
        # Not bounded as a whole: at the deadline the tasks that are done must still be reported.
        async with self._phase("parallel_execution", is_bounded=False) as phase:
            deadline = current.scope().deadline
            runner = TaskRunner(
                router=self._parts.router,
                agents=self._parts.agents,
                sink=self._parts.sink,
                clock=self._parts.clock,
                prompt=self._prompt,
                optimizer=self._parts.optimizer,
                shares=await Shares.of(context),
                context_tokens=self._limits.task_context_tokens,
                guard=self._guard,
                marks=self._parts.marks,
                relied_on=frozenset(name for task in tasks for name in task.depends_on),
            )
            self._results = await dispatch(
                tasks,
                runner.run,
                max_concurrency=self._request.max_concurrency,
                deadline=deadline,
                clock=self._parts.clock,
                tell=runner.tell,
            )
            late = [result for result in self._results if isinstance(result.failure, DeadlineExceededError)]
            if late and deadline is not None and deadline.has_passed:
                phase.fail(DeadlineExceededError.__name__)

    async def _aggregate(self) -> None:
        async with self._phase("result_aggregation", is_bounded=False):
            self._result = join_outputs(self._results, is_simulated=self._parts.is_simulated)
            await self._learn()

    async def _learn(self) -> None:
        """Tell the optimiser how each task that an agent took up ended, and what its answer drew on."""
        gathered = self._gathered
        if gathered is None:
            return
        for result in self._results:
            if result.status not in {"ok", "failed"}:
                continue
            # What a task that failed would have drawn on is unknown, which counts for less than "nothing".
            known = self._items
            drawn_on = [known[name] for name in result.context_ids if name in known] if result.is_ok else None
            await self._parts.optimizer.learn_from_success(
                self._prompt,
                used_items=drawn_on,
                task_type=result.task.task_type,
                success=result.is_ok,
                decision_id=gathered.decision_id,
                agent_id=result.task.agent,
            )

    async def _report(self) -> None:
        async with self._phase("reporting", is_bounded=False) as phase:
            if self._request.output is None:
                return
            report = self._guard.restored(self._snapshot(self._outcome(), None))
            try:
                await asyncio.to_thread(write_outputs, report, self._request.output)
            except OSError as error:
                # The run is done and paid for; what is lost is its copy on disk.
                self._unwritten = f"{self._request.output}: {error.strerror or error}"
                tell_error(self._parts.sink, error, where="workflow.output")
                phase.fail(type(error).__name__)

    def _status_of(self, error: OmniNodeError) -> RunStatus:
        match error:
            case InputRefusedError():
                return "refused"
            case QuorumFailedError() if self._quorum is not None:
                return "rejected"
            case _:  # a quorum that never came together says nothing about the plan
                return "failed"

    def _outcome(self) -> RunStatus:
        return "done" if all(result.is_ok for result in self._results) else "failed_tasks"

    @asynccontextmanager
    async def _phase(self, name: str, *, attempt: int = 1, is_bounded: bool = True) -> AsyncIterator[OpenPhase]:
        """Measure the body as a phase; `is_bounded` ends it at the run's deadline."""
        metadata = {"attempt": attempt} if attempt > 1 else None
        limit = within(None, doing=f"the phase {name}") if is_bounded else nullcontext()
        with current.entered(phase=name):
            # The limit is inside: the phase ends with the deadline's error, not with the cancellation that brings it.
            async with self._parts.monitor.phase(self.run_id, name, metadata=metadata) as phase, limit:
                yield phase

    def _tell_refusal(self) -> None:
        found = (*self._findings, *self._guard.findings)
        codes = sorted({finding.code for finding in found if finding.action is Action.BLOCK})
        self._parts.sink.emit(
            Audited(run_id=self.run_id, action="input.refused", target=str(self.run_id), detail={"codes": codes})
        )

    def _emit_started(self) -> None:
        self._parts.sink.emit(
            RunStarted(
                run_id=self.run_id,
                prompt=self._prompt,
                workspace=str(self._request.workspace) if self._request.workspace else None,
                is_simulated=self._parts.is_simulated,
            )
        )

    def _finished(self, status: RunStatus, failure: OmniNodeError | None) -> RunReport:
        report = self._snapshot(status, failure)
        self._parts.sink.emit(
            RunFinished(
                run_id=self.run_id,
                prompt=self._prompt,
                started_ns=self._started_ns,
                status=status,
                duration_ms=report.duration_ms,
                workspace=report.workspace,
                is_simulated=report.is_simulated,
                report=report.as_stored(),
                error=report.error,
            )
        )
        return report

    def _degraded(self) -> list[str]:
        unwritten = [f"output not written: {self._unwritten}"] if self._unwritten else []
        return self.ledger.degraded() + unwritten

    def _snapshot(self, status: RunStatus, failure: OmniNodeError | None) -> RunReport:
        """The report as of now."""
        duration_ms = (self._parts.clock.monotonic() - self._began) * 1000
        workspace = self._request.workspace
        return RunReport(
            run_id=self.run_id,
            status=status,
            prompt=self._prompt,
            started_at=self._started_at,
            duration_ms=duration_ms,
            is_simulated=self._parts.is_simulated,
            workspace=str(workspace) if workspace else None,
            phases=[
                PhaseLine(name=event.phase or "", duration_ms=event.duration_ms, ok=event.ok, attempt=_attempt(event))
                for event in self.ledger.phases
            ],
            tasks=self._results,
            quorum=self._quorum,
            sources=self._gathered.sources if self._gathered is not None else (),
            context_items=len(self._gathered) if self._gathered is not None else 0,
            findings=(*self._findings, *self._guard.findings),
            calls=self.ledger.call_summary(),
            models=summarise_models(self.ledger.calls),
            degraded=self._degraded(),
            unwritten=self._unwritten,
            speed_up=self.ledger.speed_up(duration_ms),
            result=self._result,
            failure=failure,
        )


def _attempt(event: PhaseFinished) -> int:
    return int(event.metadata.get("attempt", event.attempt))


def _refusal(findings: Sequence[Finding]) -> str:
    worst = next((finding for finding in findings if finding.action is Action.BLOCK), findings[0])
    more = len(findings) - 1
    return f"input refused: {worst}" + (f" (and {more} more)" if more else "")


def _rejection(quorum: QuorumResult, attempts: int, *, is_given: bool) -> str:
    reason = "; ".join(quorum.deficiencies[:3]) or quorum.note or "no reason given"
    tried = f" after {attempts} breakdowns" if attempts > 1 else ""
    remedy = "make request and tasks fit each other" if is_given else "reword the request or pass tasks with --tasks"
    return f"the quorum did not pass the plan{tried}: {reason}; {remedy}"


def _title_of(item: ContextItem) -> str:
    """The name that the title of `item` has in findings."""
    return f"{item.id} title"


def _within_budget(items: Sequence[ContextItem], budget_tokens: int) -> Sequence[ContextItem]:
    return pack(items, budget_tokens).items
