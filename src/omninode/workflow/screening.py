"""What models write for each other, judged before it is read: the tasks of a plan, and answers that others build on.

Both are text of trust `agent`. A task is meant to instruct whoever does it, so only what would overrule the
instructions is out of place in it; a message is material, and any instruction in it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from omninode.validation.origin import Derived
from omninode.validation.placeholders import Placeholders
from omninode.validation.policy import Trust, ValidationPolicy
from omninode.validation.report import Action, Finding, strength, strongest
from omninode.validation.substitute import substituted
from omninode.validation.validator import InputValidator
from omninode.workflow.task import Task

__all__ = ["Screened", "Screening", "problems_of"]

# A task is judged as one that may instruct; that it comes from an agent is told here.
_OWASP = ("LLM01", "ASI01", "ASI07")
# Told elsewhere already, or of interest only to who renders the text: counted when something is done about it.
_LESSER = ("SECRET.", "PERSONAL.", "MARKUP.", "CODE.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Screened:
    """The text as it may be read by another model, and what was found."""

    text: str
    findings: tuple[Finding, ...] = ()

    @property
    def action(self) -> Action:
        """The strongest action of the findings."""
        return strongest(finding.action for finding in self.findings)

    @property
    def is_flagged(self) -> bool:
        """Whether there was a finding of injection, whatever was done about it."""
        return any("LLM01" in finding.owasp for finding in self.findings)


class Screening:
    """Judges what agents write, by what the policy says of their trust.

    Args:
        policy: the policy of the run.
        placeholders: of the run; they stand in prompts, so they may stand in answers.
    """

    def __init__(self, policy: ValidationPolicy, *, placeholders: Placeholders) -> None:
        self._policy = policy.for_trust(Trust.AGENT)
        self._placeholders = placeholders
        # Names of placeholders belong to the run, so what is replaced is replaced here.
        judged = replace(self._policy, redact_secrets=False, personal_data=Action.ALLOW)
        self._validator = InputValidator(judged)

    def message(self, text: str, *, path: str) -> Screened:
        """`text`, an answer that another model is to read."""
        return self._judged(text, path=path, trust=Trust.AGENT)

    def task(self, task: Task) -> tuple[Task, tuple[Finding, ...]]:
        """`task`, which a model planned, with its texts as they may be read, and what was found in them."""
        findings: list[Finding] = []

        def judged(text: str, path: str) -> str:
            screened = self._judged(text, path=path, trust=Trust.USER)
            findings.extend(screened.findings)
            return screened.text

        path = f"plan[{task.id}]"
        description = judged(task.description, f"{path}.description")
        value = _each_text(task.input, judged, path=f"{path}.input")
        return replace(task, description=description, input=value), tuple(findings)

    def _judged(self, text: str, *, path: str, trust: Trust) -> Screened:
        checked = self._validator.check(text, trust=trust, path=path)
        found = [_of_agent(finding) for finding in checked.findings if _counts(finding)]
        if strength(checked.action) >= strength(Action.DROP) or self._policy.shadow:
            return Screened(text=checked.text, findings=tuple(found))
        told = substituted(
            Derived(text=checked.text),
            path=path,
            # The placeholders of the run are no forgeries in what its own models write.
            trust=Trust.USER,
            policy=self._policy,
            placeholders=self._placeholders,
        )
        # Their spans would be of the cleaned text.
        found += [replace(finding, span=None) for finding in told.findings if _counts(finding)]
        return Screened(text=told.text, findings=tuple(found))


def _counts(finding: Finding) -> bool:
    return strength(finding.action) >= strength(Action.REDACT) or not finding.code.startswith(_LESSER)


def _of_agent(finding: Finding) -> Finding:
    return replace(finding, owasp=_OWASP) if finding.code.startswith("INJECTION") else finding


# Any: parsed JSON, whose depth validation has bounded.
def _each_text(value: Any, change: Callable[[str, str], str], *, path: str) -> Any:
    if isinstance(value, str):
        return change(value, path)
    if isinstance(value, list):
        return [_each_text(item, change, path=f"{path}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, dict):
        return {change(name, path): _each_text(item, change, path=path) for name, item in value.items()}
    return value


def problems_of(findings: Sequence[Finding]) -> list[str]:
    """What a planner is told about those of its tasks that nobody is to be given; nothing of their words."""
    return [
        f"{finding.path} looks like an attempt to overrule instructions; describe the work itself, and nothing else"
        for finding in findings
        if strength(finding.action) >= strength(Action.DROP)
    ]
