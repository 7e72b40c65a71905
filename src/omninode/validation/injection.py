"""Attempts to overrule the instructions, scored by rules over the text and over what it decodes to.

A signal, not a boundary: what text from outside may cause is decided by policy and provenance in code, and a patient
attacker passes any detector. So the rules are tuned not to cry wolf. A phrase that is quoted, stands in code, or is
talked about ("how do I detect ...") counts a good third and can be flagged but not refuse. Hits add up only when they
stand near each other.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import islice

import re2

from omninode.validation import mention
from omninode.validation.origin import Derived
from omninode.validation.report import excerpt
from omninode.validation.secrets import redact
from omninode.validation.views import View, views

__all__ = ["Verdict", "assess"]

# Hits further apart than this belong to different thoughts.
_NEAR_CHARACTERS = 1_200
# Of one rule in one view; more say nothing new.
_MOST_HITS = 16
_TALKED_ABOUT = 0.38
# What is only talked about is flagged, never refused, however much of it there is.
_TALKED_ABOUT_MOST = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How likely the text tries to overrule its instructions (0 to 1), where in the original, and what says so.

    `evidence` names the rules, strongest first, with the view in which they were found when that is a decoded one.
    """

    score: float
    span: tuple[int, int]
    evidence: tuple[str, ...]
    excerpt: str


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


def assess(cleaned: Derived, *, original: str) -> Verdict | None:
    """The verdict on the cleaned text; None when no rule speaks. `original` is the text before it was cleaned."""
    best: Verdict | None = None
    for view in views(cleaned, original=original):
        verdict = _judged(view)
        if verdict is not None and (best is None or verdict.score > best.score):
            best = verdict
    return best


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
    options = re2.Options()
    # One automaton for all rules; the default budget would have it rebuilt over and over on long texts.
    options.max_mem = 64 << 20
    quick = re2.Set.SearchSet(options)
    rules = []
    for entry in data["rule"]:
        pattern = _expanded(entry["pattern"], data["lists"])
        quick.Add(pattern)
        rules.append(
            _Rule(
                name=entry["name"],
                group=entry["group"],
                weight=float(entry["weight"]),
                pattern=re2.compile(pattern),
            )
        )
    quick.Compile()
    return _Table(quick, tuple(rules))


def _expanded(pattern: str, lists: dict[str, str]) -> str:
    for name, alternatives in lists.items():
        pattern = pattern.replace("{" + name + "}", alternatives)
    return pattern.replace(" ", "[^a-z0-9]{0,5}")
