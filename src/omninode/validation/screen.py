"""One text through every detector: cleaned, secrets replaced, markup noted, injection scored.

This is the whole treatment of one value, whoever sent it; `validator` decides which values there are. The detectors
work on the cleaned text, so a key broken up by invisible characters is found; their spans are carried back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from omninode.validation import injection, markup
from omninode.validation.limits import not_text
from omninode.validation.origin import Derived
from omninode.validation.placeholders import Placeholders
from omninode.validation.policy import Trust, ValidationPolicy
from omninode.validation.report import Action, Finding, Severity, strongest
from omninode.validation.substitute import substituted, without_values
from omninode.validation.unicode import clean

__all__ = ["Screened", "screen"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Screened:
    """The text as it may be passed on (empty when it is not text), and what was found."""

    text: str
    findings: tuple[Finding, ...]

    @property
    def action(self) -> Action:
        """The strongest action of the findings."""
        return strongest(finding.action for finding in self.findings)


def screen(
    text: str, *, path: str, trust: Trust, policy: ValidationPolicy, placeholders: Placeholders | None = None
) -> Screened:
    """`text`, which is within its size limit, cleaned and judged as something `trust` says it is.

    `placeholders` gives out the names of what is replaced; without, they are this text's own.
    """
    bad = not_text(text)
    if bad is not None:
        return Screened(text="", findings=(_refused(*bad, path=path, trust=trust),))
    cleaned = clean(text)
    told = substituted(
        cleaned.derived, path=path, trust=trust, policy=policy, placeholders=placeholders or Placeholders()
    )
    findings = (
        *cleaned.findings(path=path),
        *told.findings,
        *without_values(
            [
                *markup.notes(cleaned.derived, path=path),
                *_injection(text, cleaned.derived, path=path, trust=trust, policy=policy),
            ],
            policy=policy,
        ),
    )
    return Screened(text=told.text, findings=findings)


def _refused(code: str, place: int, *, path: str, trust: Trust) -> Finding:
    what = "a NUL character; it looks like binary data" if code == "TEXT.NUL" else "half of a surrogate pair"
    return Finding(
        code=code,
        severity=Severity.ERROR,
        path=path,
        span=(place, place + 1),
        message=f"{path} is not text: it holds {what} (at character {place})",
        action=Action.BLOCK if trust.may_instruct else Action.DROP,
    )


def _injection(
    original: str, derived: Derived, *, path: str, trust: Trust, policy: ValidationPolicy
) -> Iterator[Finding]:
    verdict = injection.assess(derived, original=original)
    if verdict is None or verdict.score < policy.flag_score:
        return
    if trust.may_instruct:
        code, action = "INJECTION.DIRECT", Action.BLOCK if verdict.score >= policy.block_score else Action.FLAG
        what = "an attempt to overrule the instructions"
    else:
        code, action = "INJECTION.INDIRECT", Action.DROP if verdict.score >= policy.drop_score else Action.FLAG
        what = "instructions addressed to a model"
    yield Finding(
        code=code,
        severity=Severity.WARNING if action is Action.FLAG else Severity.ERROR,
        path=path,
        span=verdict.span,
        message=f"{path} looks like {what} ({', '.join(verdict.evidence)})",
        excerpt=verdict.excerpt,
        action=action,
        score=verdict.score,
        evidence=verdict.evidence,
        owasp=("LLM01", "ASI01", "ASI07") if trust is Trust.AGENT else (),
    )
