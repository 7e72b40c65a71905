"""A cache that answers the exact same question: bounded in entries, bytes and age.

It never waits, so between asking it and starting the work there is no gap for a second worker to slip into.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import orjson

from omninode.core.clock import Clock, SystemClock
from omninode.core.errors import InvalidArgumentError

__all__ = ["CacheStatistics", "ExactCache", "exact_key"]

V = TypeVar("V")


def exact_key(*parts: object) -> str:
    """SHA-256, in hex, of `parts` as canonical JSON: sorted keys, dataclasses as their fields, sets as sorted lists.

    Two equal questions have one key whatever the order of their keys; raises InvalidArgumentError for a part that
    has no JSON form.
    """
    try:
        data = orjson.dumps(parts, default=_plain, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    except TypeError:
        try:  # orjson refuses half a surrogate pair, which a text from outside may hold
            data = json.dumps(parts, default=_plain, sort_keys=True).encode("ascii")
        except (TypeError, ValueError) as error:
            raise InvalidArgumentError(f"no cache key: {error}; pass values that have a JSON form") from error
    return hashlib.sha256(data).hexdigest()


def _plain(value: object) -> object:
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"a {type(value).__name__} has no JSON form")


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheStatistics:
    """What a cache holds and has done since it was made."""

    entries: int
    size_bytes: int
    hits: int
    misses: int
    expired: int
    evicted: int
    refused: int
    """Values larger than the whole cache, never stored."""


@dataclass(frozen=True, slots=True)
class _Entry(Generic[V]):
    value: V
    size_bytes: int
    expires_at: float


class ExactCache(Generic[V]):
    """Keeps values by key; when full, the one unused for longest makes room.

    Args:
        max_entries: how many values it holds.
        ttl_s: how long a value is served, in seconds.
        clock: where time comes from.
        max_bytes: how much they may weigh together, by `size_of`.
        size_of: the weight of a value; every value weighs 0 without it.
    """

    def __init__(
        self,
        max_entries: int = 10_000,
        ttl_s: float = 3600.0,
        clock: Clock | None = None,
        *,
        max_bytes: int = 64 * 1024 * 1024,
        size_of: Callable[[V], int] | None = None,
    ) -> None:
        if max_entries < 1 or max_bytes < 1 or not ttl_s > 0:
            raise InvalidArgumentError(
                f"a cache of {max_entries} entries, {max_bytes} bytes and {ttl_s} s; all must be greater than zero"
            )
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._ttl_s = ttl_s
        self._clock = clock or SystemClock()
        self._size_of = size_of
        self._entries: OrderedDict[str, _Entry[V]] = OrderedDict()
        self._size_bytes = 0
        self._hits = self._misses = self._expired = self._evicted = self._refused = 0

    def get(self, key: str) -> V | None:
        """The value stored under `key`, None when there is none or it is too old."""
        entry = self._entries.get(key)
        if entry is not None and entry.expires_at <= self._clock.monotonic():
            self._drop(key)
            self._expired += 1
            entry = None
        if entry is None:
            self._misses += 1
            return None
        self._entries.move_to_end(key)
        self._hits += 1
        return entry.value

    def put(self, key: str, value: V) -> None:
        """Store `value` under `key`, in place of what was there; one larger than the whole cache is not stored."""
        size = self._size_of(value) if self._size_of is not None else 0
        if key in self._entries:
            self._drop(key)
        if size > self._max_bytes:
            self._refused += 1
            return
        while self._entries and (len(self._entries) >= self._max_entries or self._size_bytes + size > self._max_bytes):
            self._drop(next(iter(self._entries)))
            self._evicted += 1
        self._entries[key] = _Entry(value, size, self._clock.monotonic() + self._ttl_s)
        self._size_bytes += size

    def discard(self, key: str) -> None:
        """Forget what is stored under `key`, if anything is."""
        if key in self._entries:
            self._drop(key)

    def clear(self) -> None:
        """Forget everything; the counts go on."""
        self._entries.clear()
        self._size_bytes = 0

    def statistics(self) -> CacheStatistics:
        """What it holds and has done."""
        return CacheStatistics(
            entries=len(self._entries),
            size_bytes=self._size_bytes,
            hits=self._hits,
            misses=self._misses,
            expired=self._expired,
            evicted=self._evicted,
            refused=self._refused,
        )

    def _drop(self, key: str) -> None:
        self._size_bytes -= self._entries.pop(key).size_bytes
