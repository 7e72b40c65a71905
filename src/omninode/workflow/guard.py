"""What a run keeps from models, and what of their answers it keeps from whoever reads them.

Models, rows and logs see placeholders. The report that goes back to the caller has the values put back, if there is a
vault; nothing that is stored has.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from omninode.core.errors import InputRefusedError
from omninode.providers.messages import ChatRequest
from omninode.quorum.result import QuorumResult
from omninode.validation.links import hosts_in
from omninode.validation.output import OutputCheck, check_output
from omninode.validation.placeholders import Placeholders
from omninode.validation.report import Action, Finding, strength
from omninode.validation.restorer import restore
from omninode.validation.spotlight import Mode
from omninode.validation.validator import InputValidator
from omninode.validation.vault import Vault
from omninode.workflow.report import RunReport
from omninode.workflow.screening import Screening, problems_of
from omninode.workflow.task import Task, TaskResult

__all__ = ["Marks", "Prepared", "RunGuard"]

# Checking an answer of this many characters takes some milliseconds; longer ones go to a thread.
_THREAD_ABOVE = 4_000
_WITHHELD = "(withheld: it looked like instructions to whoever reads it)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """How untrusted text is marked in prompts, and the secret of this process that boundaries and canaries come from."""

    mode: Mode = "delimit"
    secret: bytes = field(default_factory=lambda: os.urandom(32), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A request as it is sent, with the canary its system message holds."""

    request: ChatRequest
    canary: str
    system: str


class RunGuard:
    """The guard of one run.

    Args:
        validator: whose policy holds.
        vault: keeps what is replaced, for the way back; None when it is not to come back.
    """

    def __init__(self, validator: InputValidator, *, vault: Vault | None = None) -> None:
        self._validator = validator
        self._vault = vault
        self._hosts: Collection[str] = ()
        self.placeholders = Placeholders(vault=vault)
        self._screening = Screening(validator.policy, placeholders=self.placeholders)
        # Messages that were flagged, and those that the policy refuses, by the task they are of.
        self._flagged_messages: dict[str, str] = {}
        self._refused_messages: dict[str, tuple[Finding, ...]] = {}
        self.findings: list[Finding] = []
        # Flagged items of context, and those of them that the planner was shown.
        self.flagged: frozenset[str] = frozenset()
        self.plan_taint: frozenset[str] = frozenset()

    def told(self, text: str | bytes) -> str:
        """`text`, which the user sent, as it may be told to anybody else."""
        plain = text if isinstance(text, str) else text.decode("utf-8", "replace")
        return self._validator.sanitized(plain, placeholders=self.placeholders)

    def know_hosts_of(self, prompt: str) -> None:
        """Let answers carry data to the hosts that the user named."""
        self._hosts = hosts_in(prompt)

    async def checked(self, text: str, *, prepared: Prepared, path: str, is_plan: bool = False) -> str:
        """`text`, a model's answer to `prepared`, as it may be shown; what was found is added to `findings`.

        A plan is JSON: it is looked through and not changed.
        """
        work = asyncio.to_thread(self._check, text, prepared, path) if len(text) > _THREAD_ABOVE else None
        check = self._check(text, prepared, path) if work is None else await work
        if is_plan:
            self.findings += [finding for finding in check.findings if finding.code.startswith("OUTPUT.CANARY")]
            return text
        self.findings += check.findings
        return check.text

    def cleaned_task(self, task: Task) -> Task:
        """`task`, which a model planned, without addresses in its description that carry data."""
        check = check_output(
            task.description,
            policy=self._validator.policy,
            known_hosts=self._hosts,
            placeholders=self.placeholders,
            path=f"plan[{task.id}].description",
        )
        self.findings += check.findings
        return replace(task, description=check.text) if check.text != task.description else task

    async def screened_plan(self, tasks: Sequence[Task]) -> tuple[tuple[Task, ...], list[str]]:
        """`tasks`, which a model planned, as agents may be given them, and why the plan cannot be used.

        A task that would overrule instructions cannot be left out without what depends on it, so the policy's DROP is
        taken as its BLOCK: no task of the plan is used.
        """
        screened = await asyncio.to_thread(lambda: [self._screening.task(task) for task in tasks])
        found = [finding for _, findings in screened for finding in findings]
        self.findings += found
        problems = problems_of(found)
        if not problems:
            self.plan_taint |= {finding.path for finding in found if "LLM01" in finding.owasp}
        return tuple(task for task, _ in screened), problems

    async def message(self, text: str, *, task_id: str) -> str:
        """`text`, the answer to a task, as tasks that build on it are sent it; a sentence where it is withheld."""
        path = f"message[{task_id}]"
        work = asyncio.to_thread(self._screening.message, text, path=path) if len(text) > _THREAD_ABOVE else None
        screened = self._screening.message(text, path=path) if work is None else await work
        self.findings += screened.findings
        if screened.action is Action.BLOCK:
            self._refused_messages[task_id] = screened.findings
        elif strength(screened.action) < strength(Action.DROP):
            if screened.is_flagged:
                self._flagged_messages[task_id] = path
            return screened.text
        return _WITHHELD

    async def passed_on(self, notes: Sequence[str]) -> list[str]:
        """`notes`, what voters missed in a plan, without those that the planner is not to be sent."""
        screened = [self._screening.message(note, path=f"deficiencies[{at}]") for at, note in enumerate(notes)]
        self.findings += [finding for one in screened for finding in one.findings]
        return [one.text for one in screened if strength(one.action) < strength(Action.DROP)]

    def check_messages(self, results: Mapping[str, TaskResult]) -> None:
        """Raise InputRefusedError when the policy refuses the message of one of `results`."""
        for name in results:
            if name in self._refused_messages:
                raise InputRefusedError(
                    f"the answer of task {name!r} was refused as a message: {self._refused_messages[name][0]}",
                    findings=self._refused_messages[name],
                )

    def taint(self, sent: Collection[str], results: Mapping[str, TaskResult]) -> tuple[str, ...]:
        """What is flagged and had a part in a task: sent to it, to the planner, or to a task it builds on."""
        inherited = {name for result in results.values() for name in result.tainted_by}
        inherited |= {self._flagged_messages[name] for name in results if name in self._flagged_messages}
        return tuple(sorted((self.flagged & set(sent)) | self.plan_taint | inherited))

    def restored(self, report: RunReport) -> RunReport:
        """`report` for the caller: with the values put back that models were not to see."""
        if self._vault is None:
            return report
        return replace(
            report,
            prompt=self._back(report.prompt),
            result=self._back(report.result),
            tasks=[self._restored_task(result) for result in report.tasks],
            quorum=self._restored_quorum(report.quorum),
        )

    def close(self) -> None:
        """Forget all values."""
        if self._vault is not None:
            self._vault.close()

    def _check(self, text: str, prepared: Prepared, path: str) -> OutputCheck:
        return check_output(
            text,
            policy=self._validator.policy,
            canary=prepared.canary,
            system_prompt=prepared.system,
            known_hosts=self._hosts,
            placeholders=self.placeholders,
            path=path,
        )

    def _restored_task(self, result: TaskResult) -> TaskResult:
        task = replace(
            result.task, description=self._back(result.task.description), input=self._back_in(result.task.input)
        )
        error = None if result.error is None else self._back(result.error)
        return replace(result, task=task, output=self._back(result.output), error=error)

    def _restored_quorum(self, quorum: QuorumResult | None) -> QuorumResult | None:
        if quorum is None:
            return None
        return replace(quorum, deficiencies=tuple(map(self._back, quorum.deficiencies)))

    def _back(self, text: str) -> str:
        return text if self._vault is None else restore(text, self._vault)

    # Any: parsed JSON, whose depth validation has bounded.
    def _back_in(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._back(value)
        if isinstance(value, list):
            return [self._back_in(item) for item in value]
        if isinstance(value, dict):
            return {self._back(str(key)): self._back_in(item) for key, item in value.items()}
        return value
