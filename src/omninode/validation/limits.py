"""The caps every input meets before anything is parsed, and what says that bytes are not text.

Each check costs one pass in C over the bytes, so a hostile input is refused for less than it cost to send.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import cast

import numpy as np

from omninode.core.errors import InvalidArgumentError

__all__ = ["Limits", "estimate_tokens", "excess", "is_deeper", "nested_size", "not_text", "size_bytes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The largest input accepted; each value at least 1.

    Attributes:
        max_prompt_bytes: the prompt, in UTF-8.
        max_prompt_tokens: the same, as `estimate_tokens` counts.
        max_item_bytes: one context item.
        max_item_tokens: the same, as `estimate_tokens` counts.
        max_tasks_bytes: a task list that arrives as JSON text.
        max_tasks: tasks in one list.
        max_task_bytes: the description of one task.
        max_depends_on: dependencies of one task.
        max_fan_out: tasks that depend on the same one.
        max_chain: tasks in the longest chain of dependencies.
        max_json_depth: brackets open at once.
        max_keys: keys in all objects of a task list together.
    """

    max_prompt_bytes: int = 100_000
    max_prompt_tokens: int = 40_000
    max_item_bytes: int = 1_000_000
    max_item_tokens: int = 400_000
    max_tasks_bytes: int = 10_000_000
    max_tasks: int = 1_000
    max_task_bytes: int = 8_000
    max_depends_on: int = 64
    max_fan_out: int = 500
    max_chain: int = 1_000
    max_json_depth: int = 32
    max_keys: int = 20_000

    def __post_init__(self) -> None:
        for each in fields(Limits):
            value = getattr(self, each.name)
            if value < 1:
                raise InvalidArgumentError(f"{each.name} is {value}; choose at least 1")


# orjson and pydantic recurse in C; both are safe far beyond this, but a user's policy may ask for anything.
_NOT_STRUCTURE = bytes(byte for byte in range(256) if byte not in b'"[]{}')
_QUOTE = ord('"')
# By how many brackets each byte opens.
_STEPS = np.array([1 if byte in b"[{" else -1 if byte in b"]}" else 0 for byte in range(256)], dtype=np.int8)
_CONTINUING = bytes(range(0x80, 0xC0))
_PLAIN = bytes(byte for byte in range(0x80) if chr(byte).isalnum() or chr(byte).isspace())
# Objects and lists between two pauses.
_AT_ONCE = 500
# Characters between two.
_PIECE = 100_000
_LEAVES = frozenset({str, int, float, bool, type(None)})
_HIGH = bytes(range(0x80, 0x100))


def size_bytes(text: str) -> int:
    """The length of `text` in UTF-8; a lone surrogate counts as it would if it could be encoded."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def estimate_tokens(text: str | bytes | bytearray, *, pause: Callable[[], None] = lambda: None) -> int:
    """About how many tokens a model counts in `text`: four letters or spaces one, two signs one, any other character one.

    A tokenizer would be exact for one model and slow; this is two passes and errs upwards on ordinary text. `pause` is
    called between steps.
    """
    characters = signs = plain = 0
    for start in range(0, len(text), _PIECE):
        piece = text[start : start + _PIECE]
        data = piece.encode("utf-8", "surrogatepass") if isinstance(piece, str) else bytes(piece)
        ascii_only = data.translate(None, _HIGH)
        own_signs = len(ascii_only.translate(None, _PLAIN))
        characters += len(data.translate(None, _CONTINUING)) - len(ascii_only)
        signs += own_signs
        plain += len(ascii_only) - own_signs
        pause()
    return characters + (signs + 1) // 2 + (plain + 3) // 4


def excess(
    text: str | bytes | bytearray, *, limits: Limits, is_item: bool, pause: Callable[[], None] = lambda: None
) -> tuple[str, str] | None:
    """The code and, in words, by how much `text` is beyond the limit of a prompt or an item; None when it is not.

    `pause` is called between steps.
    """
    family, name = ("CONTEXT", "item") if is_item else ("PROMPT", "prompt")
    size = size_bytes(text) if isinstance(text, str) else len(text)
    most: int = getattr(limits, f"max_{name}_bytes")
    if size > most:
        return f"{family}.TOO_LARGE", f"{size:,} bytes; the limit is {most:,} (max_{name}_bytes)"
    most = getattr(limits, f"max_{name}_tokens")
    # No character is more than one token, so most texts need not be counted.
    if len(text) > most and (count := estimate_tokens(text, pause=pause)) > most:
        return f"{family}.TOO_MANY_TOKENS", f"about {count:,} tokens; the limit is {most:,} (max_{name}_tokens)"
    return None


def not_text(text: str) -> tuple[str, int] | None:
    """The code and position of the first thing that no text holds (NUL, a lone surrogate); None for text."""
    nul = text.find("\0")
    if nul >= 0:
        return "TEXT.NUL", nul
    if text.isascii():
        return None
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return "TEXT.SURROGATE", error.start
    return None


def is_deeper(data: bytes, *, than: int) -> bool:
    """Whether more than `than` brackets of the JSON text `data` are open at once, counted before it is parsed.

    Brackets inside strings do not count.
    """
    if data.count(b"[") + data.count(b"{") <= than:
        return False
    bare = data.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _NOT_STRUCTURE)
    signs = np.frombuffer(bare, dtype=np.uint8)
    is_outside = np.cumsum(signs == _QUOTE) % 2 == 0
    opened = _STEPS[signs] * is_outside
    return bool(opened.cumsum(dtype=np.int64).max(initial=0) > than)


def nested_size(
    value: object, *, max_depth: int, max_keys: int, pause: Callable[[], None] = lambda: None
) -> tuple[int, int]:
    """The depth and the number of keys of parsed JSON, without recursion; stops once either exceeds its maximum.

    A structure that holds itself ends at `max_depth`; one that repeats a part of itself over and over is counted as
    often as it would be written. `pause` is called now and then.
    """
    depth = keys = seen = 0
    level: list[object] = [value] if isinstance(value, dict | list | tuple) else []
    while level and depth <= max_depth:
        depth += 1
        below: list[object] = []
        for current in level:
            seen += 1
            if seen % _AT_ONCE == 0:
                pause()
            children: Iterable[object]
            if isinstance(current, dict):
                keys += len(current)
                children = cast("dict[object, object]", current).values()
            elif isinstance(current, list | tuple):
                keys += depth > 1
                children = cast("Iterable[object]", current)
            else:
                continue
            if keys > max_keys:
                return depth, keys
            # Most hold strings only; telling so by their types costs a fraction of asking each what it is.
            if not _LEAVES.issuperset(map(type, children)):
                below += [child for child in children if type(child) not in _LEAVES]
        level = below
    return depth, keys
