"""A prompt as numbers: what the model that chooses sources sees of it.

Sixty-four numbers, about one unit long together: a constant, what kind of request it is, and its words and task type
hashed into buckets. No text survives in them, so they may be stored.
"""

from __future__ import annotations

import math
import re
import zlib

from omninode.context.lexical import tokenize

__all__ = ["SIZE", "features"]

_WORD_BUCKETS = 36
_TYPE_BUCKETS = 8
_SIGNS: tuple[re.Pattern[str], ...] = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"```|\bdef \w+\(|\bfunction \w+\(|[{};]\s*$",  # holds code
        r"\b\w+_\w+\b|\b[a-z]+[A-Z]\w+",  # names an identifier
        r"[\w-]+/[\w./-]+|\b\w+\.(py|js|ts|go|rs|java|md|toml|json|sql|c|h)\b",  # names a file
        r"traceback|stack ?trace|exception|\berror\b|segfault|panic",
        r"\d",
        r"\?\s*$|^\s*(how|why|what|where|when|which|who|is|are|does|can)\b",  # asks
        r"\b(fix|debug|bug|broken|fails?|failing|crash\w*|wrong)\b",
        r"\b(write|create|generate|implement|add|build|make)\b",
        r"\b(tests?|coverage|assert\w*|pytest|unittest)\b",
        r"\b(explain|describe|summari[sz]e|document\w*|understand|overview)\b",
        r"\b(refactor\w*|rename|clean|simplify|restructure|move)\b",
        r"\b(fast\w*|slow|perform\w*|optimi[sz]e|latency|memory|profile)\b",
        r"\b(where|find|search|locate|list|show)\b",
        r"\b(config\w*|settings?|install\w*|deploy\w*|docker|ci)\b",
        r"\b(api|http|request|endpoint|server|client|database|sql)\b",
        r"\b(research|compare|paper|study|evidence|literature|source)\b",
        r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]",
        r"\b(architecture|structure|module|package|layout|entry point)\b",
    )
)
SIZE = 2 + len(_SIGNS) + _WORD_BUCKETS + _TYPE_BUCKETS
# A prompt may be long; what it is about shows early.
_LOOKED_AT = 8_000


def features(prompt: str, *, task_type: str = "general") -> tuple[float, ...]:
    """`SIZE` numbers for a prompt; the same in every process and for every run."""
    text = prompt[:_LOOKED_AT]
    length = math.log1p(len(prompt)) / 12
    signs = [0.25 if sign.search(text) else 0.0 for sign in _SIGNS]
    return (0.7, 0.3 * length, *signs, *_words(text), *_bucketed(f"type:{task_type}", _TYPE_BUCKETS, 0.5))


def _words(text: str) -> list[float]:
    sums = [0.0] * _WORD_BUCKETS
    for word in set(tokenize(text)):
        number = zlib.crc32(word.encode("utf-8", "surrogatepass"))
        sums[number % _WORD_BUCKETS] += 1.0 if number & 0x8000_0000 else -1.0
    length = math.sqrt(sum(value * value for value in sums))
    return [0.35 * value / length for value in sums] if length else sums


def _bucketed(word: str, buckets: int, size: float) -> list[float]:
    one_hot = [0.0] * buckets
    one_hot[zlib.crc32(word.encode("utf-8", "surrogatepass")) % buckets] = size
    return one_hot
