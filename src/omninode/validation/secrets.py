"""Secrets found in text and replaced: the one table of patterns, used on prompts, tasks, logs, spans and rows alike.

Personal data (addresses, telephone numbers) has a table of its own that is asked for by name: it is looked for on the
way to a model, and left in logs.

Four stages, cheapest first: one pass looks for every rule's anchor at once; only rules whose anchor is there are
matched; the match must be random enough; and pass a check of its own (a card's Luhn digit, not a placeholder). Text
without any anchor costs that one pass. The rules are data, in `secret_rules.toml` and `personal_rules.toml`.
"""

from __future__ import annotations

import math
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import re2

from omninode.validation.checks import CHECKS
from omninode.validation.patterns import automaton, compiled

__all__ = ["Secret", "is_sensitive_name", "personal_kinds", "placeholder", "redact", "scan"]

# The first is always asked.
_FILES = ("secret_rules.toml", "personal_rules.toml")
# No rule can match anything shorter.
_SHORTEST = 6
_MOST_LOOKS = 8
# The letter of `\n` in the text of a program or of JSON, and of `%3D`, is no part of a word that a key is glued to.
_ESCAPE = r"(?:\\(?:[abfnrtv]|u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2})|%[0-9A-Fa-f]{2}|\x1b\[[0-9;]*[A-Za-z])"
_EDGE = rf"(?:\b|{_ESCAPE})"
_SENSITIVE = (
    rb"(?i)(?:^|[^a-z])(?:pass(?:word|wd|phrase)?|pwd|secrets?|token|credentials?|cookies?|authorization)$"
    rb"|(?:password|passwd|secret|auth_?token|access_?token|refresh_?token|bearer_?token|client_?secret)$"
    rb"|(?:api|access|secret|private|signing|encryption|master|service)[_\- ]?keys?$|^(?:set-)?cookie$"
)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Secret:
    """A secret in a text: its place (half-open, in characters) and kind. It does not hold the secret."""

    start: int
    end: int
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    kind: str
    pattern: re2._Regexp
    group: int
    entropy: float
    check: Callable[[str], bool]
    unless_followed: re2._Regexp | None


@dataclass(frozen=True, slots=True)
class _Table:
    anchors: re2.Set
    rules: tuple[_Rule, ...]


def scan(text: str, *, personal: bool = False) -> tuple[Secret, ...]:
    """The secrets in `text`, and the personal data if asked for; in order, none overlapping another.

    Never raises; any string is accepted.
    """
    if len(text) < _SHORTEST:
        return ()
    table = _table(_FILES if personal else _FILES[:1])
    data = text.encode("utf-8", "replace")
    hits = table.anchors.Match(data)
    if not hits:
        return ()
    if not text.isascii():
        # A lone surrogate became one question mark, so places stay the same.
        text = data.decode()
    found = [(secret, rank) for rank in sorted(hits) for secret in _matches(table.rules[rank], text)]
    return _merged(found)


def redact(text: str, *, before: str = "", personal: bool = False) -> str:
    """`text` with every secret replaced by `[REDACTED:<KIND>]`; the same string when there is none. Never raises.

    With `personal` so is personal data. `before` is what stands in front of `text` and is done with; a word that begins there is no key that begins here.
    Redacting twice gives the same as redacting once.
    """
    shift = len(before)
    # What is left beside a placeholder may read as a secret that it was not part of before: look again, until it is not.
    for _ in range(_MOST_LOOKS):
        secrets = [secret for secret in scan(before + text, personal=personal) if secret.end > shift]
        if not secrets:
            break
        parts, done = [], 0
        for secret in secrets:
            parts += [text[done : max(0, secret.start - shift)], placeholder(secret.kind)]
            done = secret.end - shift
        text = "".join([*parts, text[done:]])
    return text


def placeholder(kind: str) -> str:
    """What stands in the place of a secret of `kind`."""
    return f"[REDACTED:{kind}]"


def is_sensitive_name(name: str) -> bool:
    """Whether a field, header or variable called `name` holds a secret whatever its value looks like."""
    return bool(compiled(_SENSITIVE).search(name.encode("utf-8", "replace")))


@cache
def personal_kinds() -> frozenset[str]:
    """The kinds that are personal data and no secrets."""
    return frozenset(entry["kind"] for entry in _entries(_FILES[1]))


# Any: rules as the file has them.
def _entries(name: str) -> list[dict[str, Any]]:
    text = files(__package__).joinpath(name).read_text(encoding="utf-8")
    entries: list[dict[str, Any]] = tomllib.loads(text)["rule"]
    return entries


@cache
def _table(names: tuple[str, ...]) -> _Table:
    rules = [(rule, entry["anchor"]) for name in names for entry in _entries(name) for rule in _read(entry)]
    return _Table(automaton(anchor for _, anchor in rules), tuple(rule for rule, _ in rules))


# Any: a rule as the file has it.
def _read(entry: dict[str, Any]) -> Iterator[_Rule]:
    """The rule, and where it has a test for matches inside of a word, the rule for those."""
    yield _rule(entry, edge=_EDGE, check=entry.get("check", "any"))
    if "glued" in entry:
        yield _rule(entry, edge="", check=entry["glued"])


# Any: a rule as the file has it.
def _rule(entry: dict[str, Any], *, edge: str, check: str) -> _Rule:
    pattern = compiled(entry["pattern"].replace("<edge>", edge).replace("<escape>", _ESCAPE))
    return _Rule(
        kind=entry["kind"],
        pattern=pattern,
        group=pattern.groupindex.get("secret", 0),
        entropy=float(entry.get("entropy", 0.0)),
        check=CHECKS[check],
        unless_followed=compiled(entry["unless_followed"]) if "unless_followed" in entry else None,
    )


def _matches(rule: _Rule, text: str) -> Iterable[Secret]:
    for match in rule.pattern.finditer(text):
        start, end = match.span(rule.group)
        if rule.unless_followed is not None and rule.unless_followed.match(text[end : end + 2]):
            continue
        value = text[start:end]
        if rule.check(value) and (not rule.entropy or _bits_per_character(value) >= rule.entropy):
            yield Secret(start=start, end=end, kind=rule.kind)


def _merged(found: list[tuple[Secret, int]]) -> tuple[Secret, ...]:
    """Overlapping secrets as one, named by the earliest rule in the table, so that no part of either is left."""
    merged: list[tuple[Secret, int]] = []
    for secret, rank in sorted(found, key=lambda entry: (entry[0].start, entry[1])):
        if merged and secret.start < merged[-1][0].end:
            before, before_rank = merged[-1]
            kind, best = min((before.kind, before_rank), (secret.kind, rank), key=lambda named: named[1])
            merged[-1] = Secret(start=before.start, end=max(before.end, secret.end), kind=kind), best
        else:
            merged.append((secret, rank))
    return tuple(secret for secret, _ in merged)


def _bits_per_character(value: str) -> float:
    total = len(value)
    return -sum(count / total * math.log2(count / total) for count in Counter(value).values()) if total else 0.0
