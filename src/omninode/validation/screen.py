"""One text through every detector: cleaned, secrets replaced, markup noted, injection scored.

This is the whole treatment of one value, whoever sent it; `validator` decides which values there are. The detectors
work on the cleaned text, so a key broken up by invisible characters is found; their spans are carried back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from omninode.validation import injection, markup
from omninode.validation.decide import Watch, decided, is_cut, shadowed
from omninode.validation.limits import not_text
from omninode.validation.model import packaged
from omninode.validation.origin import Derived, Pieces
from omninode.validation.pace import Pace
from omninode.validation.placeholders import Placeholders
from omninode.validation.policy import Trust, ValidationPolicy
from omninode.validation.report import Action, Finding, Severity, strongest
from omninode.validation.substitute import substituted, without_values
from omninode.validation.unicode import Cleaned, clean

__all__ = ["Screened", "screen"]

# What stands where something was cut out.
_CUT = "[REMOVED]"
# Each round finds the strongest of what is left; a text that needs more is made of nothing else.
_MOST_ROUNDS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Screened:
    """The text as it may be passed on (empty when it is not text), and what was found.

    `waived` counts the findings that the policy's allowed phrases took away.
    """

    text: str
    findings: tuple[Finding, ...]
    waived: int = 0

    @property
    def action(self) -> Action:
        """The strongest action of the findings."""
        return strongest(finding.action for finding in self.findings)


def screen(
    text: str,
    *,
    path: str,
    trust: Trust,
    policy: ValidationPolicy,
    placeholders: Placeholders | None = None,
    pace: Pace | None = None,
    may_refuse: bool = True,
) -> Screened:
    """`text`, which is within its size limit, cleaned and judged as something `trust` says it is.

    Args:
        text: any string.
        path: what findings call it.
        trust: where it came from.
        policy: what is done about findings; the one for this trust and route.
        placeholders: gives out the names of what is replaced; without, they are this text's own.
        pace: when no more detector begins, and whether to pause between steps; without, never.
        may_refuse: whether it is part of what is asked for; a context item is not, and is left out at most.
    """
    bad = not_text(text)
    if bad is not None:
        refused = _refused(*bad, path=path, trust=trust)
        return Screened(text="", findings=decided([refused], policy=policy, may_refuse=may_refuse))
    # Names given out in shadow mode would be put back although nothing was replaced.
    names = Placeholders() if policy.shadow or placeholders is None else placeholders
    watch = Watch(path=path, trust=trust, policy=policy, pace=pace or Pace())
    first = _looked_at(text, watch=watch, names=names, may_refuse=may_refuse)
    if policy.shadow:
        return replace(first, text=text, findings=shadowed(first.findings))
    return _with_cuts(text, first, watch=watch, names=names, may_refuse=may_refuse)


def _looked_at(text: str, *, watch: Watch, names: Placeholders, may_refuse: bool) -> Screened:
    """`text` through every detector once."""
    path, trust, policy = watch.path, watch.trust, watch.policy
    cleaned = watch.run("hidden characters", lambda: clean(text)) or Cleaned(derived=Derived(text=text), removed={})
    told = watch.run(
        "secrets",
        lambda: substituted(cleaned.derived, path=path, trust=trust, policy=policy, placeholders=names),
    )
    judged, waived = _judged(text, cleaned.derived, watch=watch)
    findings = decided(
        (*cleaned.findings(path=path), *(told.findings if told else ()), *judged, *watch.failures),
        policy=policy,
        may_refuse=may_refuse,
    )
    # What nobody has searched for secrets goes nowhere, unless the policy says that it may.
    unsearched = "" if policy.fails_closed else cleaned.text
    return Screened(text=told.text if told else unsearched, findings=findings, waived=waived)


def _with_cuts(text: str, first: Screened, *, watch: Watch, names: Placeholders, may_refuse: bool) -> Screened:
    """What is left when every stretch that the policy wants redacted is cut out, until nothing more is found.

    What still is found after the last round is refused, or left out.
    """
    told, current, latest = list(first.findings), Derived(text=text), first
    for _ in range(_MOST_ROUNDS):
        spans = [finding.span for finding in latest.findings if finding.span and is_cut(finding)]
        if not spans:
            return replace(first, text=latest.text, findings=tuple(told))
        current = _cut(current, sorted(spans))
        latest = _looked_at(current.text, watch=watch, names=names, may_refuse=may_refuse)
        told += [
            replace(finding, span=current.span(*finding.span))
            for finding in latest.findings
            if finding.span and is_cut(finding)
        ]
        # A detector that only now had no time left counts as much as one that had none from the beginning.
        told += [finding for finding in latest.findings if finding.code.startswith("DETECTOR.") and finding not in told]
    last = Action.BLOCK if may_refuse else Action.DROP
    return replace(
        first, findings=tuple(replace(finding, action=last) if is_cut(finding) else finding for finding in told)
    )


def _cut(source: Derived, spans: list[tuple[int, int]]) -> Derived:
    text, pieces, done = source.text, Pieces(), 0
    for start, end in spans:
        if start >= done:
            pieces.add(text[done:start], start=done, end=start)
            pieces.add(_CUT, start=start, end=end, is_copy=False)
        done = max(done, end)
    pieces.add(text[done:], start=done, end=len(text))
    return pieces.derived(source)


def _judged(text: str, derived: Derived, *, watch: Watch) -> tuple[list[Finding], int]:
    """What is found of markup and injection outside of the allowed phrases, and how much those took away."""
    found = _noted(text, derived, watch=watch)
    phrases = watch.policy.allow_phrases
    if not found or not any(phrase in text for phrase in phrases):
        return found, 0
    masked = _without(text, phrases)
    left = [
        replace(finding, span=masked.span(*finding.span)) if finding.span else finding
        for finding in _noted(masked.text, clean(masked.text).derived, watch=watch)
    ]
    return left, len({finding.code for finding in found} - {finding.code for finding in left})


def _without(text: str, phrases: frozenset[str]) -> Derived:
    """`text` with a space in the place of each phrase, so that what stood around it is read as one."""
    places = sorted((place, place + len(phrase)) for phrase in phrases for place in _places(text, phrase))
    pieces, done = Pieces(), 0
    for start, end in places:
        if start >= done:
            pieces.add(text[done:start], start=done, end=start)
            pieces.add(" ", start=start, end=end, is_copy=False)
        done = max(done, end)
    pieces.add(text[done:], start=done, end=len(text))
    return pieces.derived()


def _places(text: str, phrase: str) -> Iterator[int]:
    place = text.find(phrase)
    while place >= 0:
        yield place
        place = text.find(phrase, place + len(phrase))


def _noted(text: str, derived: Derived, *, watch: Watch) -> list[Finding]:
    path, policy = watch.path, watch.policy
    marks = watch.run("markup", lambda: list(markup.notes(derived, path=path))) or []
    hits = watch.run("injection", lambda: list(_injection(text, derived, watch=watch)))
    return list(without_values([*marks, *(hits or [])], policy=policy))


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


def _injection(original: str, derived: Derived, *, watch: Watch) -> Iterator[Finding]:
    path, trust, policy = watch.path, watch.trust, watch.policy
    is_material = not trust.may_instruct
    verdict = injection.assess(
        derived,
        original=original,
        is_material=is_material,
        is_exact=policy.flag_score < injection.REPORTED,
        pace=watch.pace,
    )
    if verdict is None or verdict.score < policy.flag_score:
        return
    if trust.may_instruct:
        code, action = "INJECTION.DIRECT", Action.BLOCK if verdict.score >= policy.block_score else Action.FLAG
        what = "an attempt to overrule the instructions"
    else:
        code, action = "INJECTION.INDIRECT", Action.DROP if verdict.score >= policy.drop_score else Action.FLAG
        what = "instructions addressed to a model"
    probability, expected = _said_by_the_model(verdict, is_material=is_material)
    yield Finding(
        code=code,
        severity=Severity.WARNING if action is Action.FLAG else Severity.ERROR,
        path=path,
        span=verdict.span,
        message=f"{path} looks like {what} ({', '.join(verdict.evidence)}){expected}",
        excerpt=verdict.excerpt,
        action=action,
        score=verdict.score,
        probability=probability,
        evidence=verdict.evidence,
        owasp=("LLM01", "ASI01", "ASI07") if trust is Trust.AGENT else (),
    )


def _said_by_the_model(verdict: injection.Verdict, *, is_material: bool) -> tuple[float | None, str]:
    """The calibrated probability; and how many ordinary texts score as high, where the wording is evidence."""
    if verdict.odds is None:
        return None, ""
    head = packaged().planted if is_material else packaged().direct
    told = any(said.startswith("wording") for said in verdict.evidence)
    expected = f"; about {100 * head.rate(verdict.odds):.1f} % of ordinary texts score as high by their wording"
    return round(head.chance(verdict.odds), 3), expected if told else ""
