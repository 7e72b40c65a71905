"""From what detectors found to what is done: detectors run under watch, and the policy has the last word."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from omninode.validation.pace import Pace
from omninode.validation.policy import NOTING, Trust, ValidationPolicy
from omninode.validation.report import Action, Finding, Severity, strength

__all__ = ["Watch", "decided", "is_cut", "shadowed"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Runs the detectors on one value; `failures` are the findings about those that failed or had no time."""

    path: str
    trust: Trust
    policy: ValidationPolicy
    pace: Pace = field(default_factory=Pace)
    failures: list[Finding] = field(default_factory=list)

    def run(self, detector: str, work: Callable[[], T]) -> T | None:
        """The result of `work`; None when it failed or the deadline had passed before it began.

        A detector is not interrupted. Its time is bounded by the limits on what it is given.
        """
        self.pace.pause()
        if self.pace.is_late:
            self._note("DETECTOR.LATE", f"there was no time left to look at {self.path} for {detector}")
            return None
        try:
            return work()
        except Exception as error:  # noqa: BLE001 - border: a defect of a detector is a finding, and the policy decides
            # The message of the error is left out, because it may hold what was being looked at.
            what = f"{type(error).__name__} at {_place(error)}"
            self._note("DETECTOR.FAILED", f"looking at {self.path} for {detector} failed ({what})")
            return None

    def _note(self, code: str, message: str) -> None:
        is_closed = self.policy.fails_closed
        refused = Action.BLOCK if self.trust.may_instruct else Action.DROP
        self.failures.append(
            Finding(
                code=code,
                severity=Severity.ERROR if is_closed else Severity.WARNING,
                path=self.path,
                message=f"{message}; it was {'refused' if is_closed else 'passed on unexamined'}",
                action=refused if is_closed else Action.FLAG,
            )
        )


def _place(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "an unknown place"


def decided(findings: Iterable[Finding], *, policy: ValidationPolicy, may_refuse: bool) -> tuple[Finding, ...]:
    """`findings` with the actions the policy gives them.

    By default what is not `may_refuse` (a context item) is left out at most, however trusted its source; the policy's
    own word on a code is taken as it is. What may refuse cannot be left out, so there DROP becomes BLOCK.
    """
    return tuple(_decided(finding, policy=policy, may_refuse=may_refuse) for finding in findings)


def _decided(finding: Finding, *, policy: ValidationPolicy, may_refuse: bool) -> Finding:
    said = policy.action_for(finding.code)
    action = finding.action if said is None else said
    if may_refuse and action is Action.DROP:
        action = Action.BLOCK
    elif not may_refuse and action is Action.BLOCK and said is None:
        action = Action.DROP
    if action is finding.action:
        return finding
    is_grave = strength(action) >= strength(Action.DROP)
    return replace(finding, action=action, severity=Severity.ERROR if is_grave else finding.severity)


def is_cut(finding: Finding) -> bool:
    """Whether the stretch it names is to be taken out of the text; what detectors change themselves is done already."""
    return finding.action is Action.REDACT and finding.code.startswith(NOTING)


def shadowed(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """`findings` as they are told when nothing is done about them."""
    return tuple(
        replace(finding, action=Action.FLAG, would=finding.action)
        if strength(finding.action) > strength(Action.FLAG)
        else finding
        for finding in findings
    )
