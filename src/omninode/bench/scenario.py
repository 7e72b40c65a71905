"""What a scenario is: a claim, the two or more real ways that are compared, and the limit nothing can beat."""

from __future__ import annotations

import operator
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from omninode.bench.measure import Spread
from omninode.bench.surroundings import Surroundings

__all__ = ["Figure", "Findings", "Scenario", "Table", "Target", "at_least", "at_most"]

_COMPARE = {"<=": operator.le, ">=": operator.ge}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a figure has to reach."""

    comparison: Literal["<=", ">="]
    bound: float

    def is_reached(self, value: float) -> bool:
        """Whether `value` is good enough."""
        return bool(_COMPARE[self.comparison](value, self.bound))


def at_most(bound: float) -> Target:
    """A target from above."""
    return Target(comparison="<=", bound=bound)


def at_least(bound: float) -> Target:
    """A target from below."""
    return Target(comparison=">=", bound=bound)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured number. `unit` is `x` for a ratio; without a `target` it is published as it is.

    The median is held against the target; with `takes_worst` every value is, for promises about each single case.
    `interval` is where the true median lies with 95 % confidence, where that was worked out.
    """

    name: str
    spread: Spread
    unit: str = "x"
    target: Target | None = None
    takes_worst: bool = False
    interval: tuple[float, float] | None = None

    @property
    def is_reached(self) -> bool | None:
        """Whether the target is reached; None without one."""
        if self.target is None:
            return None
        spread = self.spread
        held = (spread.low, spread.high) if self.takes_worst else (spread.median,)
        return all(self.target.is_reached(value) for value in held)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What the figures were worked out from, as text: a row per case, as wide as `headings`."""

    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What a scenario measured, and what a reader must know beside the figures."""

    figures: Sequence[Figure]
    notes: Sequence[str] = ()
    table: Table | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One claim and how it is put to the test.

    `compared` names the arms, `limit` what nothing can beat. `simulated` says what is SIMULATED in it, and is empty
    when nothing is. One that is `on_request` takes minutes or needs what not everybody has, and runs when it is named.
    """

    name: str
    claim: str
    compared: str
    limit: str
    run: Callable[[Surroundings], Awaitable[Findings]]
    simulated: str = ""
    on_request: bool = False
