"""The main job: one prompt through seven phases.

input_validation > context_gathering > task_decomposition > quorum_validation > parallel_execution >
result_aggregation > reporting
"""

from __future__ import annotations

import asyncio

from omninode.core import current
from omninode.core.deadline import Deadline
from omninode.core.errors import InvalidArgumentError
from omninode.workflow.output import check_output_directory
from omninode.workflow.parts import Parts, PipelineLimits, RunRequest
from omninode.workflow.report import RunReport
from omninode.workflow.run import RunInProgress

__all__ = ["Pipeline"]


class Pipeline:
    """Runs prompts. One pipeline serves any number of runs at once."""

    def __init__(self, parts: Parts, limits: PipelineLimits | None = None) -> None:
        self._parts = parts
        self._limits = limits or PipelineLimits()

    async def run(self, request: RunRequest) -> RunReport:
        """The report of the run.

        Raises only cancellation, InvalidArgumentError for an impossible request or an unknown route, and ConfigurationError for an output
        directory that cannot be written or lies in the workspace.
        """
        if request.max_concurrency < 1:
            raise InvalidArgumentError(
                f"max_concurrency is {request.max_concurrency}; allow at least one task at a time"
            )
        self._parts.validator.policy.check_route(request.route)
        if request.output is not None:
            await asyncio.to_thread(check_output_directory, request.output, workspace=request.workspace)
        deadline = None
        if request.deadline_s is not None:
            deadline = Deadline.after(request.deadline_s, clock=self._parts.clock)
        run = RunInProgress(self._parts, self._limits, request)
        with current.entered(run_id=run.run_id, deadline=deadline), self._parts.sink.attached(run.ledger):
            return await run.complete()
