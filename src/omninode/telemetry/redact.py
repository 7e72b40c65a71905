"""Taking secrets out of whatever is about to be written or shown.

A value under a telling key (`api_key`, `authorization`, …) goes whatever it looks like; every other text passes the
one table of secret patterns, `validation.secrets`.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from omninode.validation import secrets

__all__ = ["REDACTED", "redact", "redact_error", "redact_text"]

REDACTED = "[redacted]"
# Names the shared table leaves to their context; in labels and headers they always hold a secret.
_MORE_KEYS = re.compile(r"(?:^|_)(?:auth|private_key|passphrase|session_key|signature|dsn)$")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# What is deeper is cut off: telemetry is shallow, and a structure that holds itself must end somewhere.
_DEPTH = 12


def redact(value: Any, *, text: Callable[[str], str] | None = None) -> Any:  # Any: whatever JSON can hold, and more
    """`value` with every secret replaced; mappings, sequences and sets are copied, other objects become text.

    Numbers, booleans and None pass unchanged. `text` replaces the redaction of strings (`redact_text`).
    """
    return _redact(value, text or redact_text, _DEPTH)


def redact_text(text: str) -> str:
    """`text` with everything that looks like a secret replaced."""
    return secrets.redact(text)


def redact_error(error: BaseException) -> str:
    """The traceback of `error` with its causes, as text, with secrets replaced."""
    return redact_text("".join(traceback.format_exception(error)))


def _redact(value: Any, text: Callable[[str], str], depth: int) -> Any:  # Any: as in `redact`
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return text(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return text(bytes(value).decode("utf-8", "replace"))
    if isinstance(value, BaseException):
        return text(f"{type(value).__name__}: {value}")
    return _redact_parts(value, text, depth)


def _redact_parts(value: Any, text: Callable[[str], str], depth: int) -> Any:  # Any: as in `redact`
    if depth <= 0:
        return "[too deep]"
    if isinstance(value, Mapping):
        return {
            _safe_key(str(key)): REDACTED if item and _is_secret_key(str(key)) else _redact(item, text, depth - 1)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_redact(item, text, depth - 1) for item in value]
    return text(str(value))


@lru_cache(maxsize=2048)
def _safe_key(key: str) -> str:
    """`key` as `redact_text` leaves it; remembered, because the same few keys come again and again."""
    return redact_text(key)


@lru_cache(maxsize=2048)
def _is_secret_key(key: str) -> bool:
    plain = _CAMEL.sub("_", key).lower().replace(" ", "_").replace("-", "_")
    return secrets.is_sensitive_name(plain) or _MORE_KEYS.search(plain) is not None
