"""What our prompts and the simulator agree on: a role line in the system message, and one JSON object after `INPUT:`.

Real models read both as plain text; the simulator reads its part from them, so that it never guesses at wording.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

__all__ = ["Assignment", "Role", "assignment", "message_text"]

Role = Literal["planner", "voter", "worker"]

_ROLE = re.compile(r"^[ \t]*OMNINODE-ROLE:[ \t]*(planner|voter|worker)[ \t]*$", re.MULTILINE)
_BOUNDARY = re.compile(r"\A\[data [a-z2-7]{12}\]\n|\n\[end [a-z2-7]{12}\]\Z")
_INPUT = re.compile(r"^INPUT:[ \t]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """The part the simulator is asked to play, and what it was given for it."""

    role: Role
    # Any: JSON as the product sent it; every reader checks what it takes out.
    data: Mapping[str, Any]


def assignment(messages: Sequence[Mapping[str, Any]]) -> Assignment | None:
    """The part these messages ask for; None for an ordinary chat, or when a marker comes without readable INPUT."""
    system = "\n".join(message_text(message) for message in messages if message.get("role") in {"system", "developer"})
    role = _ROLE.search(system)
    users = [message_text(message) for message in messages if message.get("role") == "user"]
    if role is None:
        return None
    for text in reversed(users):
        start = _INPUT.search(text)
        if start is None:
            continue
        try:
            data, _ = json.JSONDecoder().raw_decode(text, _skip_space(text, start.end()))
        except ValueError:
            continue
        if isinstance(data, dict):
            return Assignment(role=cast("Role", role.group(1)), data=_unmarked(data))
    return None


# Any: as in Assignment.
def _unmarked(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """`data` with the text of its context and results as it was before it was put between boundaries."""
    plain = dict(data)
    for name, key in (("context", "content"), ("results", "output")):
        entries = data.get(name)
        if isinstance(entries, list):
            plain[name] = [
                {**entry, key: _BOUNDARY.sub("", entry[key])}
                if isinstance(entry, dict) and isinstance(entry.get(key), str)
                else entry
                for entry in entries
            ]
    return plain


def message_text(message: Mapping[str, Any]) -> str:
    """The text of a chat message, whose content is a string or a list of typed parts."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return ""


def _skip_space(text: str, position: int) -> int:
    while position < len(text) and text[position].isspace():
        position += 1
    return position
