"""Markup: made safe where text is rendered, only noted where it is input.

Developers' prompts hold HTML, script and SQL as a matter of course, so nothing found here refuses or changes a
prompt. What protects a page is `safe_html`; what protects the database is bound parameters.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import nh3
import re2

from omninode.validation.origin import Derived
from omninode.validation.patterns import automaton, compiled
from omninode.validation.report import Action, Finding, Severity, excerpt
from omninode.validation.secrets import redact

__all__ = ["notes", "safe_html"]

# fmt: off
_TAGS = frozenset([
    "a", "abbr", "b", "blockquote", "br", "code", "dd", "del", "dl", "dt", "em", "h1",
    "h2", "h3", "h4", "h5", "h6", "hr", "i", "kbd", "li", "ol", "p", "pre",
    "s", "strong", "sub", "sup", "table", "tbody", "td", "th", "thead", "tr", "ul",
])
# fmt: on

# code, pattern, what it is
_NOTED = (
    ("MARKUP.SCRIPT", r"(?i)<\s*(?:script|iframe|object|embed)\b[^>]*>?", "an element that runs or embeds code"),
    ("MARKUP.EVENT_HANDLER", r"(?i)<[a-z][^<>]*[\s\"'/]on[a-z]{3,20}\s*=", "an HTML event handler"),
    ("MARKUP.SCRIPT_URL", r"(?i)\b(?:java|vb)script\s*:\s*\S", "a script URL"),
    ("MARKUP.DATA_URL", r"(?i)\bdata:[a-z]+/[a-z0-9.+-]+[;,]", "a data URL"),
    (
        "CODE.SQL",
        r"(?i)['\"]\s*(?:or|and)\s+['\"]?\w+['\"]?\s*=\s*['\"]?\w|;\s*drop\s+table\b|\bunion\s+(?:all\s+)?select\b",
        "SQL as it is used in injections",
    ),
)


def safe_html(html: str) -> str:
    """`html` with only harmless elements left: no scripts, handlers, styles, images or addresses but http(s), mailto."""
    return nh3.clean(
        html,
        tags=set(_TAGS),
        attributes={"a": {"href", "title"}, "abbr": {"title"}},
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
    )


def notes(derived: Derived, *, path: str) -> Iterator[Finding]:
    """One finding of action ALLOW per kind of active markup in the text, at its first place."""
    hits = _anchors().Match(derived.text)
    for index in sorted(hits or ()):
        code, _, what = _NOTED[index]
        match = compiled(_NOTED[index][1]).search(derived.text)
        if match is not None:
            yield Finding(
                code=code,
                severity=Severity.INFO,
                path=path,
                span=derived.span(*match.span()),
                message=f"the text holds {what}; it is passed on as it is",
                excerpt=excerpt(redact(match.group())),
                action=Action.ALLOW,
            )


@cache
def _anchors() -> re2.Set:
    return automaton(pattern for _, pattern, _ in _NOTED)
