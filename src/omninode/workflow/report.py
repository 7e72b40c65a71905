"""The report of a run: what a user sees, what `--json` prints and what is stored are this one value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from omninode.context.item import SourceReport
from omninode.core.errors import OmniNodeError
from omninode.core.events import RunStatus
from omninode.quorum.result import QuorumResult
from omninode.validation.report import Finding
from omninode.workflow.task import TaskResult

__all__ = ["PhaseLine", "RunReport"]

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseLine:
    """One phase that ran; a repeated phase has one line per attempt."""

    name: str
    duration_ms: float
    ok: bool
    attempt: int = 1
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """How a run ended and what it did.

    `status` is done, failed_tasks (some task failed, the rest is there), refused (validation), rejected (the quorum
    voted the plan down), failed (see `error`) or cancelled. `speed_up` compares the run with the same calls and
    sources one after another. `unwritten` says why the output directory lacks files, None when all is there. `calls` counts calls, attempts, tokens and cost; unpriced calls are counted apart.
    """

    run_id: UUID
    status: RunStatus
    prompt: str
    started_at: datetime
    duration_ms: float
    is_simulated: bool
    workspace: str | None = None
    phases: Sequence[PhaseLine] = ()
    tasks: Sequence[TaskResult] = ()
    quorum: QuorumResult | None = None
    sources: Sequence[SourceReport] = ()
    context_items: int = 0
    findings: Sequence[Finding] = ()
    # Any: counts by name, as JSON.
    calls: Mapping[str, Any] = field(default_factory=dict)
    models: Sequence[Mapping[str, Any]] = ()
    degraded: Sequence[str] = ()
    unwritten: str | None = None
    speed_up: float = 1.0
    result: str = ""
    failure: OmniNodeError | None = None

    @property
    def error(self) -> str | None:
        """Why there is no result, in one line."""
        return self.failure.message if self.failure else None

    @property
    def tainted_by(self) -> tuple[str, ...]:
        """The flagged context items that had a part in any task's result."""
        return tuple(sorted({name for result in self.tasks for name in result.tainted_by}))

    def raise_for_status(self) -> RunReport:
        """This report, or raise the error that ended the run."""
        if self.failure is not None:
            raise self.failure
        return self

    def as_stored(self) -> dict[str, Any]:
        """The report without the outputs of the tasks, which have a row each; `result` holds them joined."""
        report = self.as_json()
        for task in report["tasks"]:
            del task["output"]
        return report

    def as_json(self) -> dict[str, Any]:
        """The report as JSON values: durations in whole milliseconds, money in dollars, times in ISO 8601 UTC."""
        return {
            "schema": SCHEMA,
            "run_id": str(self.run_id),
            "status": self.status,
            "is_simulated": self.is_simulated,
            "prompt": self.prompt,
            "workspace": self.workspace,
            "started_at": self.started_at.isoformat(),
            "duration_ms": round(self.duration_ms),
            "speed_up": round(self.speed_up, 2),
            "error": self.error,
            "error_class": type(self.failure).__name__ if self.failure else None,
            "phases": [_phase_json(line) for line in self.phases],
            "context": {
                "items": self.context_items,
                "sources": [
                    {
                        "name": source.source,
                        "type": source.context_type,
                        "status": source.status,
                        "items": source.items,
                        "duration_ms": round(source.duration_ms),
                        "error": source.error,
                    }
                    for source in self.sources
                ],
            },
            "quorum": _quorum_json(self.quorum),
            "tasks": [_task_json(result) for result in self.tasks],
            "calls": dict(self.calls),
            "models": [dict(line) for line in self.models],
            "degraded": list(self.degraded),
            "findings": [_finding_json(finding) for finding in self.findings],
            "result": self.result,
        }


def _finding_json(finding: Finding) -> dict[str, Any]:
    return {
        "code": finding.code,
        "severity": str(finding.severity),
        "path": finding.path,
        "message": finding.message,
        "action": str(finding.action),
        "span": list(finding.span) if finding.span else None,
        "excerpt": finding.excerpt,
        "remedy": finding.remedy,
        "owasp": list(finding.owasp),
        "score": finding.score,
        "probability": finding.probability,
        "evidence": list(finding.evidence),
        "would": str(finding.would) if finding.would is not None else None,
        "detector": finding.detector,
        "version": finding.version,
    }


def _phase_json(line: PhaseLine) -> dict[str, Any]:
    return {
        "name": line.name,
        "duration_ms": round(line.duration_ms),
        "ok": line.ok,
        "attempt": line.attempt,
        "note": line.note,
    }


def _quorum_json(quorum: QuorumResult | None) -> dict[str, Any] | None:
    if quorum is None:
        return None
    return {
        "decision": str(quorum.decision.value),
        "confidence": round(quorum.confidence, 3),
        "asked": quorum.asked,
        "counted": quorum.counted,
        "saved": quorum.saved,
        "deficiencies": list(quorum.deficiencies),
        "note": quorum.note,
    }


def _task_json(result: TaskResult) -> dict[str, Any]:
    return {
        **result.task.as_json(),
        "status": result.status,
        "wait_ms": round(result.wait_ms),
        "duration_ms": round(result.duration_ms),
        "output": result.output,
        "error": result.error,
        "context_ids": list(result.context_ids),
        "tainted_by": list(result.tainted_by),
    }
