"""Attempts to overrule the instructions, scored by rules and a trained model, over the text and what it decodes to.

A signal, not a boundary: what text from outside may cause is decided by policy and provenance in code, and a patient
attacker passes any detector. So the rules are tuned not to cry wolf. A phrase that is quoted, stands in code, or is
talked about ("how do I detect ...") counts a good third and can be flagged but not refuse. Hits add up only when they
stand near each other.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from itertools import islice

import re2

from omninode.validation import mention
from omninode.validation.batch import log_odds_of
from omninode.validation.glance import Glance, direct, planted
from omninode.validation.model import packaged
from omninode.validation.origin import Derived
from omninode.validation.pace import Pace
from omninode.validation.patterns import automaton, compiled
from omninode.validation.report import excerpt
from omninode.validation.secrets import redact
from omninode.validation.views import View, views

__all__ = ["NEAR", "REPORTED", "Verdict", "assess", "is_ready", "make_ready", "rule_places", "rule_score", "score_of"]

# Hits further apart than this belong to different thoughts.
_NEAR_CHARACTERS = 1_200
# Of one rule in one view; more say nothing new.
_MOST_HITS = 16
_TALKED_ABOUT = 0.38
# What is only talked about is flagged, never refused, however much of it there is.
_TALKED_ABOUT_MOST = 0.8
# The model's threshold, at which one benign text in a hundred passes, stands at the policy's defaults for blocking a
# prompt and for dropping an item; so far below it, in log-odds, stands the default for a finding.
_AT_BLOCK, _AT_DROP, REPORTED = 0.85, 0.7, 0.35
NEAR = -0.25
# A policy that refuses from 1.0 on refuses nothing for its wording.
_LEARNED_MOST = 0.999


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How strongly the text tries to overrule its instructions (0 to 1), where in the original, and what says so.

    `odds` is what the trained model says, as log-odds that are 0 at its threshold; None where it had no say. `evidence`
    names the rules, strongest first, with the view in which they were found when that is a decoded one.
    """

    score: float
    span: tuple[int, int]
    evidence: tuple[str, ...]
    excerpt: str
    is_talked_about: bool = False
    odds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    name: str
    group: str
    weight: float
    pattern: re2._Regexp


@dataclass(frozen=True, slots=True)
class _Table:
    quick: re2.Set
    rules: tuple[_Rule, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Hit:
    rule: _Rule
    start: int
    end: int
    weight: float
    is_talked_about: bool


def assess(
    cleaned: Derived, *, original: str, is_material: bool = False, is_exact: bool = True, pace: Pace | None = None
) -> Verdict | None:
    """The verdict on the cleaned text; None when there is nothing to read. `original` is the text before it was cleaned.

    Args:
        cleaned: the text without what nobody sees.
        original: the text as it was handed in.
        is_material: whether the text is not meant to instruct anybody: then any instruction in it is out of place.
        is_exact: whether the model reads what a glance at the words would pass over, too; otherwise scores below
            `REPORTED` are rough, and one text in two hundred that is above it seems to be below.
        pace: asked for a pause after each reading.
    """
    pace = pace or Pace()
    glance = None if is_exact else planted() if is_material else direct()
    best: Verdict | None = None
    for view in views(cleaned, original=original, pause=pace.pause):
        learned = (
            _learned(view, is_material=is_material, glance=glance, pause=pace.pause)
            if view.reads_like_language
            else None
        )
        verdict = _joined(_judged(view), learned)
        if verdict is not None and (best is None or verdict.score > best.score):
            best = verdict
        pace.pause()
    return best


def is_ready() -> bool:
    """Whether `make_ready` has nothing left to do."""
    return all(part.cache_info().currsize for part in _PARTS)


def make_ready() -> None:
    """Read rules and model; the first text of a process waits for that otherwise, some tenths of a second."""
    for part in _PARTS:
        part()


def rule_places(reading: str) -> Iterator[tuple[int, int]]:
    """Where rules match the text, which is in lower case; of matches that overlap the first."""
    table = _table()
    for index in table.quick.Match(reading) or ():
        for match in table.rules[index].pattern.finditer(reading):
            yield match.span()


def rule_score(reading: str) -> float:
    """The score that the rules alone give the text, which is in lower case; 0 when none matches."""
    verdict = _judged(View(name="text", derived=Derived(text=reading)))
    return 0.0 if verdict is None else verdict.score


def score_of(odds: float) -> float:
    """The score of text that may instruct, by the log-odds that the model gives it."""
    return _on_the_scale(odds, threshold=_AT_BLOCK)


def _joined(ruled: Verdict | None, learned: Verdict | None) -> Verdict | None:
    """The stronger of the two with the evidence of both; what is only talked about is not refused for its wording."""
    if ruled is None or learned is None:
        return ruled or learned
    learned_score = learned.score
    if ruled.is_talked_about:
        # A phrase that is quoted is strange wording itself, so coming near the threshold by it says nothing more.
        is_over = learned.odds is not None and learned.odds >= 0.0
        learned_score = min(learned.score, _TALKED_ABOUT_MOST) if is_over else 0.0
    score = max(ruled.score, learned_score)
    # A rule points at the phrase, the model only at a window.
    return replace(ruled, score=score, evidence=(*ruled.evidence, *learned.evidence), odds=learned.odds)


def _learned(view: View, *, is_material: bool, glance: Glance | None, pause: Callable[[], None]) -> Verdict:
    """What the trained model says; evidence only when it comes near its threshold."""
    text = view.derived.text
    threshold = _AT_DROP if is_material else _AT_BLOCK
    expected = None if glance is None else glance.passing(text, pause=pause)
    if expected is not None:
        score = _on_the_scale(expected, threshold=threshold)
        return Verdict(score=score, span=view.derived.span(0, len(text)), evidence=(), excerpt="", odds=expected)
    head = packaged().planted if is_material else packaged().direct
    if len(text) <= head.shape.size and text.strip():
        odds, (start, end) = log_odds_of(head, text), (0, len(text))
    else:
        facts, (start, end) = head.facts(text, pause=pause)
        odds = head.log_odds(facts)
    score = _on_the_scale(odds, threshold=threshold)
    if odds < NEAR:
        return Verdict(score=score, span=view.derived.span(start, end), evidence=(), excerpt="", odds=odds)
    suffix = "" if view.name == "text" else f" in {view.name}"
    # Whatever the policy passes on: what a finding says goes to logs and reports.
    words = ", ".join(head.strongest(redact(text[start:end], personal=True)))
    told = f"wording{suffix}: {words}" if words else f"wording{suffix}"
    return Verdict(
        score=score,
        span=view.derived.span(start, end),
        evidence=(told,),
        excerpt=excerpt(redact(text[start:end])),
        odds=odds,
    )


def _on_the_scale(odds: float, *, threshold: float) -> float:
    """Log-odds, zero at the model's threshold, as a score that is `threshold` there and rises with them throughout."""
    if odds >= 0.0:
        return min(_LEARNED_MOST, round(1.0 - (1.0 - threshold) * math.exp(-odds), 4))
    if odds >= NEAR:
        return round(threshold - (threshold - REPORTED) * odds / NEAR, 4)
    return round(REPORTED * 0.99 * math.exp(odds - NEAR), 12)


def _judged(view: View) -> Verdict | None:
    text = view.derived.text
    table = _table()
    indices = table.quick.Match(text)
    if not indices:
        return None
    hits = sorted((hit for index in indices for hit in _hits(table.rules[index], text)), key=lambda hit: hit.start)
    score, near = max(_windows(hits), key=lambda window: window[0], default=(0.0, []))
    if not near:
        return None
    strongest = sorted(near, key=lambda hit: -hit.weight)
    suffix = "" if view.name == "text" else f" in {view.name}"
    start, end = min(hit.start for hit in near), max(hit.end for hit in near)
    return Verdict(
        score=round(score, 3),
        span=view.derived.span(start, end),
        evidence=tuple(dict.fromkeys(hit.rule.name + suffix for hit in strongest)),
        excerpt=excerpt(redact(text[strongest[0].start : strongest[0].end])),
        is_talked_about=all(hit.is_talked_about for hit in near),
    )


def _hits(rule: _Rule, text: str) -> Iterator[_Hit]:
    for match in islice(rule.pattern.finditer(text), _MOST_HITS):
        start, end = match.span()
        mentioned = mention.is_talked_about(text, start=start, end=end)
        weight = rule.weight * (_TALKED_ABOUT if mentioned else 1.0)
        yield _Hit(rule=rule, start=start, end=end, weight=weight, is_talked_about=mentioned)


def _windows(hits: list[_Hit]) -> Iterator[tuple[float, list[_Hit]]]:
    """The score of each stretch of text that begins with a hit, and the hits in it."""
    for index, first in enumerate(hits):
        near = [hit for hit in islice(hits, index, index + _MOST_HITS) if hit.start - first.start <= _NEAR_CHARACTERS]
        yield _combined(near), near


def _combined(hits: list[_Hit]) -> float:
    """Hits of different groups added up; of one group only the strongest counts."""
    weights: dict[str, float] = {}
    for hit in hits:
        weights[hit.rule.group] = max(hit.weight, weights.get(hit.rule.group, 0.0))
    missed = 1.0
    for weight in weights.values():
        missed *= 1.0 - weight
    score = 1.0 - missed
    return min(score, _TALKED_ABOUT_MOST) if all(hit.is_talked_about for hit in hits) else score


@cache
def _table() -> _Table:
    data = tomllib.loads(files(__package__).joinpath("injection_rules.toml").read_text(encoding="utf-8"))
    patterns = [_expanded(entry["pattern"], data["lists"]) for entry in data["rule"]]
    rules = tuple(
        _Rule(name=entry["name"], group=entry["group"], weight=float(entry["weight"]), pattern=compiled(pattern))
        for entry, pattern in zip(data["rule"], patterns, strict=True)
    )
    return _Table(automaton(patterns), rules)


_PARTS = (_table, direct, planted)


def _expanded(pattern: str, lists: dict[str, str]) -> str:
    for name, alternatives in lists.items():
        pattern = pattern.replace("{" + name + "}", alternatives)
    return pattern.replace(" ", "[^a-z0-9]{0,5}")
