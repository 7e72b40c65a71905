"""What validation found and what came of it.

A finding points into the text as it was handed in: `path` names the value (`prompt`, `tasks[3].description`,
`context[readme]`), `span` the characters in it. Nothing here ever holds a secret: excerpts are redacted.

The codes are stable; a caller may switch on them.

    PROMPT.TYPE  PROMPT.EMPTY  PROMPT.TOO_LARGE       the prompt cannot be used as it is
    PROMPT.TOO_MANY_TOKENS
    TEXT.NOT_UTF8  TEXT.NUL  TEXT.SURROGATE           a value is not text
    UNICODE.TAG  UNICODE.BIDI  UNICODE.INVISIBLE      characters nobody sees were removed
    UNICODE.CONTROL  UNICODE.VARIATION
    TASKS.TYPE  TASKS.NOT_JSON  TASKS.EMPTY           the list of tasks as a whole
    TASKS.TOO_LARGE  TASKS.TOO_MANY  TASKS.TOO_DEEP
    TASKS.TOO_MANY_KEYS  TASKS.CHAIN_TOO_LONG
    TASKS.FAN_OUT_TOO_WIDE
    TASK.INVALID  TASK.DUPLICATE_ID                   one task
    TASK.UNKNOWN_DEPENDENCY  TASK.SELF_DEPENDENCY
    TASK.CYCLE  TASK.UNKNOWN_AGENT
    SECRET.<KIND>                                     a secret was replaced; KIND is a name of `secret_rules.toml`
    PERSONAL.<KIND>                                   personal data, by the names of `personal_rules.toml`
    PLACEHOLDER.FORGED                                text from outside named a placeholder of the run; it was broken up
    MARKUP.SCRIPT  MARKUP.EVENT_HANDLER               noted for whoever renders the text; never a reason to refuse
    MARKUP.SCRIPT_URL  MARKUP.DATA_URL  CODE.SQL
    INJECTION.DIRECT                                  the prompt or a task tries to overrule its instructions
    INJECTION.INDIRECT                                a context item does
    CONTEXT.TYPE  CONTEXT.TOO_LARGE                   a context item that cannot be used
    CONTEXT.TOO_MANY_TOKENS
    DETECTOR.FAILED  DETECTOR.LATE                    a detector failed on a value, or had no time for it
    INPUT.NOT_JSON  INPUT.INVALID                     a line of a file of inputs (`omninode guard`)
    INPUT.TOO_LARGE  INPUT.TOO_DEEP
    OUTPUT.CANARY  OUTPUT.PROMPT_LEAK                 a model told its instructions
    OUTPUT.EXFILTRATION  OUTPUT.SCRIPT_URL            an address in an answer that was taken out of it
    OUTPUT.DATA_URL
    REPORT.MORE                                       findings beyond the most a report holds
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from omninode.validation.catalogue import detector_version, entry

if TYPE_CHECKING:
    from omninode.validation.tasks import TaskModel

__all__ = ["Action", "Finding", "Severity", "ValidationReport", "excerpt", "strength", "strongest"]

EXCERPT_CHARACTERS = 80


class Severity(StrEnum):
    """How much a finding matters, mildest first."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Action(StrEnum):
    """What was done about a finding, mildest first: nothing, noted, removed or replaced, item left out, refused."""

    ALLOW = "allow"
    FLAG = "flag"
    REDACT = "redact"
    DROP = "drop"
    BLOCK = "block"


_STRENGTH = {action: rank for rank, action in enumerate(Action)}


def strength(action: Action) -> int:
    """The rank of `action`, 0 for the mildest."""
    return _STRENGTH[action]


def strongest(actions: Iterable[Action]) -> Action:
    """The strongest of `actions`; ALLOW for none."""
    return max(actions, key=_STRENGTH.__getitem__, default=Action.ALLOW)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One problem, where it is, what was done about it and what the sender can do.

    `span` is half-open, in characters of the value as handed in; None when the whole value is meant. `score` is
    between 0 and 1 where a detector weighs (injection), `probability` beside it the trained model's calibrated one, were
    attacks as frequent as ordinary texts; `evidence` names the rules that spoke, `owasp` the entries of
    the OWASP Top 10 lists for LLM (2025) and agentic applications (2026) it belongs to. What is left empty of `remedy`,
    `owasp`, `detector` and `version` is what `catalogue` says of the code. `would` is what had been done were the
    policy not in shadow mode.
    """

    code: str
    severity: Severity
    path: str
    message: str
    action: Action
    span: tuple[int, int] | None = None
    excerpt: str = ""
    remedy: str = ""
    score: float | None = None
    probability: float | None = None
    evidence: tuple[str, ...] = ()
    owasp: tuple[str, ...] = ()
    detector: str = ""
    version: str = ""
    would: Action | None = None

    def __post_init__(self) -> None:
        known = entry(self.code)
        for name in ("remedy", "owasp", "detector"):
            if not getattr(self, name):
                object.__setattr__(self, name, getattr(known, name))
        if not self.version:
            object.__setattr__(self, "version", detector_version(self.detector))

    def __str__(self) -> str:
        place = self.path if self.span is None else f"{self.path}[{self.span[0]}:{self.span[1]}]"
        return f"{self.code} at {place}: {self.message}" + (f"; {self.remedy}" if self.remedy else "")


def _no_items() -> Mapping[str, str]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationReport:
    """What may be passed on, and every finding on the way there.

    `is_valid` is False only when the action is BLOCK. `sanitized_prompt` is empty when the prompt was refused before
    it was read (too large, not text). `sanitized_tasks` is None when no tasks were handed in. `sanitized_items` maps
    the id of each context item that may be used to its cleaned text; `dropped_items` are the ids of the others;
    `flagged_items` those that may be used and had a finding of injection (LLM01) all the same. `waived` counts the
    findings that allowed phrases took away.
    """

    is_valid: bool
    action: Action
    sanitized_prompt: str
    sanitized_tasks: tuple[TaskModel, ...] | None = None
    deficiencies: tuple[Finding, ...] = ()
    duration_ms: float = 0.0
    sanitized_items: Mapping[str, str] = field(default_factory=_no_items)
    dropped_items: tuple[str, ...] = ()
    flagged_items: tuple[str, ...] = ()
    waived: int = 0

    @property
    def would(self) -> Action:
        """The action had the policy not been in shadow mode; the action itself when it was not."""
        return strongest((self.action, *(finding.would for finding in self.deficiencies if finding.would is not None)))

    @property
    def blocking(self) -> tuple[Finding, ...]:
        """The findings that made the input be refused."""
        return tuple(finding for finding in self.deficiencies if finding.action is Action.BLOCK)

    @property
    def summary(self) -> str:
        """One line: why the input was refused, or how many findings there are."""
        blocking = self.blocking
        if blocking:
            more = f" (and {len(blocking) - 1} more)" if len(blocking) > 1 else ""
            remedy = f"; {blocking[0].remedy}" if blocking[0].remedy else ""
            return f"{blocking[0].message}{remedy}{more}"
        return f"accepted with {len(self.deficiencies)} findings" if self.deficiencies else "accepted"


def excerpt(text: str) -> str:
    """`text` on one line, shortened to fit a finding. The caller has redacted it."""
    line = " ".join(text[: 4 * EXCERPT_CHARACTERS].split())
    return line if len(line) <= EXCERPT_CHARACTERS else line[: EXCERPT_CHARACTERS - 1] + "…"
