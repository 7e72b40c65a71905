"""Checks that a setting lies in its range, with one form of message for all of them."""

from __future__ import annotations

import math

from omninode.core.errors import InvalidArgumentError

__all__ = ["require_callable", "require_count", "require_kind", "require_methods", "require_seconds", "require_share"]


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


def require_kind(owner: str, name: str, value: object, *kinds: type) -> None:
    """Raise InvalidArgumentError unless `value` is of one of `kinds`."""
    if not isinstance(value, kinds):
        allowed = " or ".join("None" if kind is type(None) else kind.__name__ for kind in kinds)
        raise InvalidArgumentError(f"{owner}: {name} is {value!r}; pass one of {allowed}")


def require_callable(owner: str, name: str, value: object) -> None:
    """Raise InvalidArgumentError unless `value` can be called."""
    if not callable(value):
        raise InvalidArgumentError(f"{owner}: {name} is {value!r}; pass a function")


def require_methods(owner: str, name: str, value: object, *methods: str) -> None:
    """Raise InvalidArgumentError unless `value` has `methods`; a class has not: it was not made into an object."""
    if isinstance(value, type) or not all(callable(getattr(value, method, None)) for method in methods):
        raise InvalidArgumentError(f"{owner}: {name} is {value!r}; pass an object with {', '.join(methods)}")


def _number(value: object) -> float:
    """The value as a float; what is no number, or too large for one, becomes nan, which lies in no range."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan
