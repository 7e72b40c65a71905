"""Identifiers that sort by time.

Rows carry UUID version 7 (RFC 9562 section 5.7) made here, so that a row knows its id before the database does, a
replayed row meets its own primary key, and neighbours in time are neighbours on disk.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from datetime import UTC, datetime
from uuid import UUID

__all__ = ["short", "stable_hash", "time_of", "uuid7"]

_lock = threading.Lock()
_last_ms = 0
_sequence = 0


def uuid7() -> UUID:
    """A new version 7 UUID, strictly greater than any this process made before. Safe from any thread."""
    global _last_ms, _sequence  # noqa: PLW0603 - the order guarantee is per process, as the state must be
    with _lock:
        now_ms = time.time_ns() // 1_000_000
        if now_ms > _last_ms:
            _last_ms = now_ms
            # 11 random bits leave as many again for counting up inside one millisecond.
            _sequence = int.from_bytes(os.urandom(2)) & 0x7FF
        else:
            _sequence += 1
            if _sequence > 0xFFF:
                _last_ms += 1
                _sequence = 0
        stamp, sequence = _last_ms, _sequence
    tail = int.from_bytes(os.urandom(8)) & ((1 << 62) - 1)
    return UUID(int=(stamp << 80) | (7 << 76) | (sequence << 64) | (2 << 62) | tail)


def time_of(identifier: UUID) -> datetime:
    """The moment in UTC, to the millisecond, at which a version 7 UUID was made."""
    return datetime.fromtimestamp((identifier.int >> 80) / 1000, tz=UTC)


def short(identifier: UUID) -> str:
    """The last eight hex digits: enough to tell runs apart on a screen (the first ones are the clock)."""
    return identifier.hex[-8:]


def stable_hash(*parts: str | bytes) -> str:
    """SHA-256, in hex, of the parts with their lengths, so that ("ab", "c") and ("a", "bc") differ."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8))
        digest.update(data)
    return digest.hexdigest()
