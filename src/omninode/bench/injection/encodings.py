"""Nine ways to write a text so that a detector cannot read it and a model can; written apart from what decodes them."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from types import MappingProxyType

__all__ = ["ENCODERS", "pairs"]


def _turned(letter: str) -> str:
    for first in "aA":
        if ord(first) <= ord(letter) < ord(first) + 26:
            return chr((ord(letter) - ord(first) + 13) % 26 + ord(first))
    return letter


ENCODERS: Mapping[str, Callable[[str], str]] = MappingProxyType(
    {
        "base64": lambda text: base64.b64encode(text.encode()).decode(),
        "hexadecimal": lambda text: text.encode().hex(),
        "percent": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
        "entities": lambda text: "".join(f"&#{ord(letter)};" for letter in text),
        "reversed": lambda text: "".join(reversed(text)),
        "rot13": lambda text: "".join(_turned(letter) for letter in text),
        "spaced": lambda text: "  ".join(" ".join(word) for word in text.split()),
        "tag characters": lambda text: "".join(chr(0xE0000 | ord(letter)) for letter in text),
        "full width": lambda text: "".join(
            chr(ord(letter) + 0xFEE0) if "!" <= letter <= "~" else letter for letter in text
        ),
    }
)

# Tag characters stand for ASCII alone, and letters spaced twice have lost where a word ends.
_LOSE = {("tag characters", "tag characters"), ("tag characters", "full width"), ("spaced", "spaced")}


def pairs() -> list[tuple[str, str]]:
    """The outer and the inner of every two that lose nothing together; an encoding twice is such a pair too."""
    return [(outer, inner) for outer in ENCODERS for inner in ENCODERS if (outer, inner) not in _LOSE]
