"""Secrets and personal data of one text replaced by placeholders, with a finding for each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from omninode.validation.origin import Derived, Pieces
from omninode.validation.placeholders import Placeholders
from omninode.validation.policy import Trust, ValidationPolicy
from omninode.validation.report import Action, Finding, Severity
from omninode.validation.restorer import restore
from omninode.validation.secrets import Secret, personal_kinds, placeholder, scan

__all__ = ["Substituted", "substituted", "without_values"]

_MOST_LOOKS = 8


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
        derived = _with(derived, [(one.start, one.end, one.name.replace("_", "-")) for one in forged])
    placeholders.reserve(derived.text)
    personal = personal_kinds()
    groups: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    # What is left beside a placeholder may read as a secret that it was not part of before.
    for look in range(_MOST_LOOKS):
        changes = []
        for secret in _found(derived.text, policy):
            is_personal = secret.kind in personal
            is_replaced = policy.personal_data is Action.REDACT if is_personal else policy.redact_secrets
            span = derived.span(secret.start, secret.end)
            if is_personal and (is_replaced or look == 0):
                groups[secret.kind].append(span)
            elif is_replaced or look == 0:
                findings.append(_secret(secret.kind, span, path=path, policy=policy))
            if is_replaced:
                value = _whole(derived.text[secret.start : secret.end], placeholders)
                changes.append((secret.start, secret.end, placeholders.replace(secret.kind, value)))
        if not changes:
            break
        derived = _with(derived, changes)
    findings += [_personal(kind, spans, path=path, policy=policy) for kind, spans in groups.items()]
    return Substituted(text=derived.text, findings=tuple(findings))


def _with(derived: Derived, changes: Iterable[tuple[int, int, str]]) -> Derived:
    """`derived` with the stretches in `changes` replaced, and the way back kept."""
    pieces, done = Pieces(), 0
    for start, end, instead in changes:
        pieces.add(derived.text[done:start], start=done, end=start)
        pieces.add(instead, start=start, end=end, is_copy=False)
        done = end
    pieces.add(derived.text[done:], start=done, end=len(derived.text))
    return pieces.derived(derived)


def _whole(value: str, placeholders: Placeholders) -> str:
    """`value` with the placeholders in it resolved, since what is put back is not read again."""
    return value if placeholders.vault is None else restore(value, placeholders.vault)


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


def _secret(kind: str, span: tuple[int, int], *, path: str, policy: ValidationPolicy) -> Finding:
    is_redacted = policy.redact_secrets
    return Finding(
        code=f"SECRET.{kind}",
        severity=Severity.WARNING,
        path=path,
        span=span,
        message=f"what looks like a secret ({_words(kind)}) was "
        + ("replaced" if is_redacted else "found and left in place"),
        excerpt=placeholder(kind),
        action=Action.REDACT if is_redacted else Action.FLAG,
    )


def _personal(kind: str, spans: list[tuple[int, int]], *, path: str, policy: ValidationPolicy) -> Finding:
    is_redacted = policy.personal_data is Action.REDACT
    count = f"{len(spans)} times, first here" if len(spans) > 1 else "once"
    return Finding(
        code=f"PERSONAL.{kind}",
        severity=Severity.WARNING if is_redacted else Severity.INFO,
        path=path,
        span=spans[0],
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
