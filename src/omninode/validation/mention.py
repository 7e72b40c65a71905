"""Whether a phrase is used or talked about: quoted, in code, named in a question, or about something else.

"Ignore all previous instructions" orders; 'how do I detect "ignore all previous instructions"?' asks. Both hold the
phrase; only the first is a reason to refuse.
"""

from __future__ import annotations

from omninode.validation.patterns import compiled

__all__ = ["is_talked_about"]

# How far before and after a phrase its sentence is looked at.
_BEFORE = 240
_AFTER = 120

_SINGLE = r"(?:^|[\s(\[,:=])'[^']*$"

_CUES = (
    r"\b(?:detect\w*|classif\w*|filter(?:s|ing)?|saniti[sz]\w*|regex\w*|pattern|unit tests?|test cases?|tests? (?:for|that)"
    r"|examples?|phrases?|such as|e\.g|like|attacks?|attackers?|injections?|jailbreaks?|explain\w*|describe\w*|mean(?:s|ing)?"
    r"|what (?:is|does|are|happens|would)|why|how (?:do|does|can|could|would|should|to|is|are|many)|guard(?:s|rails?)?"
    r"|red.?team\w*|security|papers?|blogs?|articles?|homework|essay|lectures?|phishing|strings?|datasets?|sentences?"
    r"|label\w*|contain\w*|says?|said|saying|called|titled|named|translate|prevent\w*|protect\w*|defen[cds]\w*|block(?:s|ed|ing)?"
    r"|handles?|when (?:a|the|some|users?|someone)|if (?:a|the|some|users?|someone)|users? (?:who|can|could|might|tries|try|types?|enters?|asks?)"
    r"|should (?:we|i|it)|does (?:it|the|my|our)|can (?:i|we|a|an|the|it)|is it|function|method|class|button|option|flag|config\w*)\b"
)
# What the phrase is about, when it is not the reader's own instructions.
_SCOPED = (
    r"^[\"'`)\]]?\s*(?:in|from|of|on|about|for|within|inside|at|under|regarding) "
    r"(?:(?:the|this|that|these|those|my|our) (?:\w+ )?(\w+)|[\w./-]*\w\.[a-z]\w*)\b"
    r"|^\s*(?:about|regarding|concerning) \w"
)
# What is about these is about the reader's own instructions after all.
_HERE = frozenset(
    [
        "chat",
        "conversation",
        "developer",
        "developers",
        "message",
        "model",
        "prompt",
        "session",
        "system",
        "text",
        "user",
    ]
)
_OPENING = {"“": "”", "«": "»", "「": "」", "„": "“"}


def is_talked_about(text: str, *, start: int, end: int) -> bool:
    """Whether the phrase `text[start:end]` (in lower case) is mentioned rather than meant."""
    return (
        _is_quoted(text, start, end)
        or _is_scoped(text[end : end + _AFTER])
        or bool(compiled(_CUES).search(_sentence_before(text, start)))
    )


def _is_scoped(after: str) -> bool:
    match = compiled(_SCOPED).search(after)
    return match is not None and match.group(1) not in _HERE


def _sentence_before(text: str, start: int) -> str:
    """What stands before the phrase in its sentence and its line."""
    before = text[max(0, start - _BEFORE) : start]
    cut = max(before.rfind(mark) for mark in (". ", "! ", "? ", "\n", "。", "; "))
    return before[cut + 1 :]


def _is_quoted(text: str, start: int, end: int) -> bool:
    if text.count("```", 0, start) % 2 == 1 and "```" in text[end:]:
        return True
    line = text[text.rfind("\n", 0, start) + 1 : start]
    rest = text[end:].partition("\n")[0]
    for opening, closing in _OPENING.items():
        if line.rfind(opening) > line.rfind(closing) and closing in rest:
            return True
    if any(line.count(quote) % 2 == 1 and quote in rest for quote in '"`'):
        return True
    # An apostrophe opens a quotation only after a space or a bracket.
    return bool(compiled(_SINGLE).search(line)) and "'" in rest
