"""What a model wrote, checked before anybody sees it: leaked canaries and instructions, secrets, addresses that carry data.

A model that was talked into something shows it here, whatever the words were. Detection of the talk is a signal; this
check is deterministic: it holds whether or not the injection was recognised.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from string import punctuation

from omninode.validation.canary import holds_canary
from omninode.validation.links import REMOVED, Danger, danger_of, places
from omninode.validation.placeholders import Placeholders
from omninode.validation.policy import ValidationPolicy
from omninode.validation.report import Action, Finding, Severity
from omninode.validation.secrets import placeholder, scan

__all__ = ["OutputCheck", "check_output"]

_MAX_LINK_FINDINGS = 20
# A run of so many words is no coincidence; so many of them, or this share of the instructions, is a leak.
_SHINGLE = 6
_LEAST_SHINGLES = 12
_LEAST_SHARE = 0.3
_PUNCTUATION = punctuation + "…“”„«»—"

_TOLD: dict[Danger, tuple[str, str]] = {
    "exfiltration": ("OUTPUT.EXFILTRATION", "an address that would carry data to {host}, which is not allowed"),
    "script": ("OUTPUT.SCRIPT_URL", "an address that runs a script"),
    "data": ("OUTPUT.DATA_URL", "an address that holds a document"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputCheck:
    """What may be shown, and what was found; spans point into the text as the model wrote it."""

    text: str
    findings: tuple[Finding, ...] = ()


def check_output(
    text: str,
    *,
    policy: ValidationPolicy,
    canary: str = "",
    system_prompt: str = "",
    known_hosts: Collection[str] = (),
    placeholders: Placeholders | None = None,
    path: str = "output",
) -> OutputCheck:
    """`text`, which a model wrote, with what may not be shown taken out of it. Never raises; time is linear.

    Args:
        text: what the model wrote.
        policy: `allowed_hosts`, and whether addresses that carry data are taken out (`strip_links`) or only reported.
        canary: the token that the system prompt held.
        system_prompt: what the answer must not repeat at length.
        known_hosts: hosts that may be sent data beside those of the policy, such as those the user named.
        placeholders: of the run; an address that names one carries a value, whatever it looks like.
        path: the name of the text in findings.
    """
    # Half of a surrogate pair is no text; a question mark in its place keeps all other places.
    text = text if text.isascii() else text.encode("utf-8", "replace").decode()
    leaked = _canary(text, canary, path=path)
    cleaned, links = _without_links(
        text, policy=policy, hosts={*policy.allowed_hosts, *known_hosts}, placeholders=placeholders, path=path
    )
    findings = [*leaked, *_repeated(text, system_prompt, path=path), *_secrets(text, policy, path=path), *links]
    if canary and canary in cleaned:
        cleaned = cleaned.replace(canary, placeholder("CANARY"))
    return OutputCheck(text=cleaned, findings=tuple(findings))


def _canary(text: str, canary: str, *, path: str) -> Iterator[Finding]:
    if not holds_canary(text, canary):
        return
    at = text.find(canary)
    yield Finding(
        code="OUTPUT.CANARY",
        severity=Severity.ERROR,
        path=path,
        span=(at, at + len(canary)) if at >= 0 else None,
        message="the answer tells the token that stands in the instructions only" + ("" if at >= 0 else ", disguised"),
        action=Action.REDACT if at >= 0 else Action.FLAG,
        remedy="something made the model repeat its instructions; look at the context it was sent",
        owasp=("LLM07", "LLM01", "ASI01"),
    )


def _repeated(text: str, system_prompt: str, *, path: str) -> Iterator[Finding]:
    """A finding when much of the instructions stands in the answer, word for word."""
    told = _shingles(system_prompt)
    shared = len(told & _shingles(text)) if told else 0
    share = shared / len(told) if told else 0.0
    if shared < min(_LEAST_SHINGLES, len(told)) or (share < _LEAST_SHARE and shared < 40) or not shared:
        return
    yield Finding(
        code="OUTPUT.PROMPT_LEAK",
        severity=Severity.WARNING,
        path=path,
        message=f"the answer repeats {share:.0%} of the model's instructions word for word",
        action=Action.FLAG,
        remedy="keep nothing in instructions that a user must not read",
        score=share,
        owasp=("LLM07",),
    )


def _shingles(text: str) -> set[tuple[str, ...]]:
    """The runs of `_SHINGLE` words in `text`, whatever case and punctuation they are in."""
    words = [word for word in (raw.strip(_PUNCTUATION) for raw in text.casefold().split()) if word]
    return set(zip(*(words[start:] for start in range(_SHINGLE)), strict=False))


def _secrets(text: str, policy: ValidationPolicy, *, path: str) -> Iterator[Finding]:
    """Secrets a model wrote are reported and left: it may have been asked for one, and rows are redacted anyway."""
    for secret in scan(text)[: policy.max_findings]:
        if text[secret.start : secret.end] not in policy.allowed_values:
            yield Finding(
                code=f"SECRET.{secret.kind}",
                severity=Severity.WARNING,
                path=path,
                span=(secret.start, secret.end),
                message=f"the answer holds what looks like a secret ({secret.kind.replace('_', ' ').lower()})",
                excerpt=placeholder(secret.kind),
                action=Action.FLAG,
                remedy="do not use it if it is real; find out where the model had it from",
                owasp=("LLM02",),
            )


def _without_links(
    text: str, *, policy: ValidationPolicy, hosts: Collection[str], placeholders: Placeholders | None, path: str
) -> tuple[str, list[Finding]]:
    parts: list[str] = []
    findings: list[Finding] = []
    done = count = 0
    for place in places(text):
        url = text[place.start : place.end]
        danger = danger_of(url, use=place.use, hosts=hosts)
        if danger is None and placeholders is not None and placeholders.forged(url):
            danger = "exfiltration", "a host", REMOVED
        if danger is None:
            continue
        kind, host, instead = danger
        count += 1
        if count <= _MAX_LINK_FINDINGS:
            findings.append(_link(kind, host, (place.start, place.end), policy=policy, path=path))
        if policy.strip_links:
            parts += [text[done : place.start], instead]
            done = place.end
    if count > _MAX_LINK_FINDINGS:
        findings.append(_more(count - _MAX_LINK_FINDINGS, path=path, policy=policy))
    return "".join([*parts, text[done:]]), findings


def _link(kind: Danger, host: str, span: tuple[int, int], *, policy: ValidationPolicy, path: str) -> Finding:
    code, told = _TOLD[kind]
    done = "it was taken out" if policy.strip_links else "it was left in place"
    return Finding(
        code=code,
        severity=Severity.WARNING,
        path=path,
        span=span,
        message=f"the answer holds {told.format(host=host[:100] or 'a host')}; {done}",
        action=Action.REDACT if policy.strip_links else Action.FLAG,
        remedy="allow the host if it is one of yours" if kind == "exfiltration" else "do not open it",
        owasp=("LLM05", "LLM02"),
    )


def _more(count: int, *, policy: ValidationPolicy, path: str) -> Finding:
    return Finding(
        code="OUTPUT.EXFILTRATION",
        severity=Severity.WARNING,
        path=path,
        message=f"{count} more addresses of this kind are not listed",
        action=Action.REDACT if policy.strip_links else Action.FLAG,
        owasp=("LLM05", "LLM02"),
    )
