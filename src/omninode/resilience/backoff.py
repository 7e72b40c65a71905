"""How long to wait before the next attempt, and what the other side asked for.

Full jitter (a wait drawn evenly from zero up to the exponential bound) spreads callers that failed together; a wait
the other side named is a floor for it, because coming back sooner is what it asked us not to do.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from datetime import UTC, datetime

__all__ = ["asked_wait_s", "backoff_bound_s", "draw_wait_s", "parse_retry_after"]


def backoff_bound_s(attempt: int, *, base_s: float, multiplier: float, max_s: float) -> float:
    """The longest wait after failed attempt number `attempt` (from 1): `base_s` x `multiplier`^(attempt-1), capped."""
    try:
        bound = base_s * multiplier ** (attempt - 1)
    except OverflowError:
        return max_s
    return min(max_s, bound)


def draw_wait_s(bound_s: float, *, jitter: bool, floor_s: float | None, rng: random.Random) -> float:
    """A wait up to `bound_s` (drawn evenly with `jitter`, else all of it), never below `floor_s`."""
    wait = rng.uniform(0.0, bound_s) if jitter else bound_s
    return wait if floor_s is None else max(wait, floor_s)


def asked_wait_s(error: BaseException) -> float | None:
    """The wait in seconds that an error carries, None without one.

    Looked for in `retry_after_s`, `retry_after` and the `Retry-After` header of `headers` or `response.headers`.
    What is negative or not a number counts as none.
    """
    for name in ("retry_after_s", "retry_after"):
        wait = getattr(error, name, None)
        if isinstance(wait, int | float) and not isinstance(wait, bool):
            return _usable(wait)
    for holder in (error, getattr(error, "response", None)):
        headers = getattr(holder, "headers", None)
        if isinstance(headers, Mapping):
            text = headers.get("Retry-After") or headers.get("retry-after")
            if isinstance(text, str):
                return parse_retry_after(text)
    return None


def parse_retry_after(text: str, *, now: datetime | None = None) -> float | None:
    """Seconds asked for by a Retry-After header (RFC 9110 section 10.2.3): a number, or a date against `now` in UTC.

    A date that has passed is 0.0; a negative number and anything else is None.
    """
    text = text.strip()
    try:
        return _usable(float(text))
    except ValueError:
        pass
    from email.utils import parsedate_to_datetime  # here because it brings half the mail package, for a rare form

    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - (now or datetime.now(UTC))).total_seconds())


def _usable(number: float) -> float | None:
    try:
        seconds = float(number)
    except OverflowError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
