"""Checks that a setting lies in its range, with one form of message for all of them."""

from __future__ import annotations

import math

from omninode.core.errors import InvalidArgumentError

__all__ = ["require_count", "require_seconds", "require_share"]


def require_count(owner: str, name: str, value: object, *, at_least: int) -> None:
    """Raise InvalidArgumentError unless `value` is a whole number of at least `at_least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise InvalidArgumentError(f"{owner}: {name} is {value!r}; pass a whole number of at least {at_least}")


def require_seconds(owner: str, name: str, value: object, *, positive: bool = True) -> None:
    """Raise InvalidArgumentError unless `value` is a finite length of time (above zero when `positive`)."""
    number = _number(value)
    if not math.isfinite(number) or number < 0 or (positive and number == 0):
        bound = "above zero" if positive else "of zero or more"
        raise InvalidArgumentError(f"{owner}: {name} is {value!r}; pass a number of seconds {bound}")


def require_share(owner: str, name: str, value: object, *, low: float = 0.0, high: float = 1.0) -> None:
    """Raise InvalidArgumentError unless `low` <= `value` <= `high`."""
    if not low <= _number(value) <= high:
        raise InvalidArgumentError(f"{owner}: {name} is {value!r}; pass a number from {low} to {high}")


def _number(value: object) -> float:
    """The value as a float; what is no number becomes nan, which lies in no range."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
