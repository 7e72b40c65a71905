"""Secrets and personal data of one text replaced by placeholders, with a finding for each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from omninode.validation.origin import Derived, Pieces
from omninode.validation.placeholders import Placeholders
from omninode.validation.policy import Trust, ValidationPolicy
from omninode.validation.report import Action, Finding, Severity
from omninode.validation.secrets import Secret, personal_kinds, placeholder, scan

__all__ = ["Substituted", "substituted", "without_values"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Substituted:
    """The text as it may be passed on, and what was replaced in it."""

    text: str
    findings: tuple[Finding, ...]


def substituted(
    derived: Derived, *, path: str, trust: Trust, policy: ValidationPolicy, placeholders: Placeholders
) -> Substituted:
    """`derived` with what the policy has replaced, and findings that point into the original text.

    A placeholder that stands in the text already is the sender's own when the sender may instruct. In any other text
    it would make a model say a value it was not given, so it is broken up.
    """
    findings: list[Finding] = []
    if not trust.may_instruct and (forged := placeholders.forged(derived.text)):
        findings.append(_forged(derived.span(forged[0].start, forged[0].end), path=path))
        pieces, done = Pieces(), 0
        for mention in forged:
            pieces.add(derived.text[done : mention.start], start=done, end=mention.start)
            broken = mention.name.replace("_", "-")
            pieces.add(broken, start=mention.start, end=mention.end, is_copy=False)
            done = mention.end
        pieces.add(derived.text[done:], start=done, end=len(derived.text))
        derived = pieces.derived(derived)
    placeholders.reserve(derived.text)
    personal = personal_kinds()
    parts: list[str] = []
    groups: defaultdict[str, list[Secret]] = defaultdict(list)
    done = 0
    for secret in _found(derived.text, policy):
        is_personal = secret.kind in personal
        if is_personal:
            groups[secret.kind].append(secret)
        else:
            findings.append(_secret(secret, derived.span(secret.start, secret.end), path=path, policy=policy))
        if policy.personal_data is Action.REDACT if is_personal else policy.redact_secrets:
            value = derived.text[secret.start : secret.end]
            parts += [derived.text[done : secret.start], placeholders.replace(secret.kind, value)]
            done = secret.end
    findings += [
        _personal(kind, group, derived.span(group[0].start, group[0].end), path=path, policy=policy)
        for kind, group in groups.items()
    ]
    return Substituted(text="".join([*parts, derived.text[done:]]), findings=tuple(findings))


def without_values(findings: Iterable[Finding], *, policy: ValidationPolicy) -> Iterator[Finding]:
    """The findings with excerpts that hold nothing of what the policy has replaced."""
    for finding in findings:
        if policy.personal_data is not Action.REDACT or not finding.excerpt:
            yield finding
            continue
        # What an excerpt's end cuts off may be half an address, which no rule knows.
        text = finding.excerpt.rpartition(" ")[0] + " …" if finding.excerpt.endswith("…") else finding.excerpt
        for secret in reversed(scan(text, personal=True)):
            text = text[: secret.start] + placeholder(secret.kind) + text[secret.end :]
        yield replace(finding, excerpt=text)


def _found(text: str, policy: ValidationPolicy) -> Iterator[Secret]:
    for secret in scan(text, personal=policy.personal_data is not Action.ALLOW):
        if policy.allowed_values:
            value = text[secret.start : secret.end]
            if value in policy.allowed_values or value.rpartition("@")[2] in policy.allowed_values:
                continue
        yield secret


def _secret(secret: Secret, span: tuple[int, int], *, path: str, policy: ValidationPolicy) -> Finding:
    is_redacted = policy.redact_secrets
    return Finding(
        code=f"SECRET.{secret.kind}",
        severity=Severity.WARNING,
        path=path,
        span=span,
        message=f"what looks like a secret ({_words(secret.kind)}) was "
        + ("replaced" if is_redacted else "found and left in place"),
        excerpt=placeholder(secret.kind),
        action=Action.REDACT if is_redacted else Action.FLAG,
    )


def _personal(kind: str, group: list[Secret], span: tuple[int, int], *, path: str, policy: ValidationPolicy) -> Finding:
    is_redacted = policy.personal_data is Action.REDACT
    count = f"{len(group)} times, first here" if len(group) > 1 else "once"
    return Finding(
        code=f"PERSONAL.{kind}",
        severity=Severity.WARNING if is_redacted else Severity.INFO,
        path=path,
        span=span,
        message=f"personal data ({_words(kind)}) was "
        + (f"replaced ({count})" if is_redacted else f"found and passed on ({count})"),
        excerpt=placeholder(kind),
        action=policy.personal_data,
    )


def _forged(span: tuple[int, int], *, path: str) -> Finding:
    return Finding(
        code="PLACEHOLDER.FORGED",
        severity=Severity.WARNING,
        path=path,
        span=span,
        message=f"{path} names a placeholder of this run, which would have been replaced by a value of the user's; "
        "it was broken up",
        action=Action.REDACT,
    )


def _words(kind: str) -> str:
    return kind.replace("_", " ").lower()
