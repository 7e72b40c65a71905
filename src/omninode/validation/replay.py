"""A policy tried on recorded inputs before it goes live: how often it would refuse, and what changes.

The rates come with their Clopper-Pearson bounds, which hold for every number of inputs: with none refused of n, the rate
may still be about 3.7/n.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from omninode.validation.guard import Guarded, guard
from omninode.validation.policy import ValidationPolicy
from omninode.validation.records import Record
from omninode.validation.report import Action, excerpt
from omninode.validation.secrets import redact
from omninode.validation.validator import InputValidator

__all__ = ["Change", "Rate", "Replay", "binomial_bounds", "replay"]

# Enough halvings to be exact to the last bit of what is shown.
_HALVINGS = 60
_MOST_CHANGES = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How many of how many, with the bounds between which the true share lies in 95 of 100 cases."""

    count: int
    of: int

    @property
    def share(self) -> float:
        """The share seen; 0 of nothing."""
        return self.count / self.of if self.of else 0.0

    @property
    def bounds(self) -> tuple[float, float]:
        """The lower and the upper bound of the share."""
        return binomial_bounds(self.count, of=self.of)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One input that the two policies treat otherwise; `codes` are the findings that decide under the first."""

    line: int
    name: str
    before: Action
    after: Action
    codes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What a policy does to the inputs, and how that differs from another.

    `rates` has, by name, the share of inputs with that outcome, `by_kind` the share stopped of each kind of input.
    `changes` holds the first 1,000 of `changed`, and is empty without a policy to compare with.
    """

    rates: dict[str, Rate]
    by_kind: dict[str, Rate]
    changed: int = 0
    changes: tuple[Change, ...] = ()


def replay(records: Iterable[Record], *, policy: ValidationPolicy, against: ValidationPolicy | None = None) -> Replay:
    """The outcome of `policy` on each of `records`, compared with that of `against` when that is given.

    Shadow mode does not matter: what counts is what would be done.
    """
    tried = InputValidator(_live(policy))
    other = None if against is None else InputValidator(_live(against))
    seen: dict[str, int] = dict.fromkeys(("refused", "dropped", "redacted", "flagged", "clean"), 0)
    kinds: dict[str, list[int]] = {}
    changes: list[Change] = []
    total = changed = 0
    for record in records:
        (after,) = guard([record], validator=tried)
        total += 1
        seen[_OUTCOME[after.action]] += 1
        kinds.setdefault(str(record.kind), []).append(after.is_stopped)
        if other is None:
            continue
        (before,) = guard([record], validator=other)
        if before.action is not after.action:
            changed += 1
            if len(changes) < _MOST_CHANGES:
                changes.append(_change(before, after))
    rates = {name: Rate(count=count, of=total) for name, count in seen.items()}
    by_kind = {kind: Rate(count=sum(stopped), of=len(stopped)) for kind, stopped in sorted(kinds.items())}
    return Replay(rates=rates, by_kind=by_kind, changed=changed, changes=tuple(changes))


_OUTCOME = {
    Action.BLOCK: "refused",
    Action.DROP: "dropped",
    Action.REDACT: "redacted",
    Action.FLAG: "flagged",
    Action.ALLOW: "clean",
}


def _live(policy: ValidationPolicy) -> ValidationPolicy:
    return replace(
        policy,
        shadow=False,
        trusts={trust: replace(over, shadow=None) for trust, over in policy.trusts.items()},
        routes={route: replace(over, shadow=None) for route, over in policy.routes.items()},
    )


def _change(before: Guarded, after: Guarded) -> Change:
    decisive = after if after.action is not Action.ALLOW else before
    return Change(
        line=after.record.line,
        name=excerpt(redact(after.record.name)),
        before=before.action,
        after=after.action,
        codes=tuple(dict.fromkeys(each.code for each in decisive.findings if each.action is decisive.action)),
    )


def binomial_bounds(count: int, *, of: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact bounds (Clopper and Pearson, 1934) of a share of which `count` of `of` were seen.

    The lower bound is the share at which `count` or more would be seen with half the remaining probability, the upper
    one that at which `count` or fewer would. With nothing seen of nothing, anything is possible.
    """
    if of == 0:
        return 0.0, 1.0
    tail = (1.0 - confidence) / 2
    low = 0.0 if count == 0 else _share_where(lambda share: 1.0 - _at_most(count - 1, of, share), tail, rises=True)
    high = 1.0 if count == of else _share_where(lambda share: _at_most(count, of, share), tail, rises=False)
    return low, high


def _share_where(probability: Callable[[float], float], target: float, *, rises: bool) -> float:
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if (probability(middle) < target) is rises:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _at_most(count: int, of: int, share: float) -> float:
    """The probability of at most `count` successes in `of` trials."""
    # The tail that does not hold the most likely count falls from its first term on, so few terms are needed.
    if count >= of * share:
        return 1.0 - _tail(count + 1, of, share, step=1)
    return _tail(count, of, share, step=-1)


def _tail(first: int, of: int, share: float, *, step: int) -> float:
    """The probability of `first` successes and of all counts beyond it in the direction of `step`."""
    if not 0 <= first <= of or not 0.0 < share < 1.0:
        return 0.0
    choices = math.lgamma(of + 1) - math.lgamma(first + 1) - math.lgamma(of - first + 1)
    term = math.exp(choices + first * math.log(share) + (of - first) * math.log1p(-share))
    odds, total, seen = share / (1.0 - share), 0.0, first
    while 0 <= seen <= of and total + term > total:
        total += term
        term *= odds * (of - seen) / (seen + 1) if step > 0 else seen / (of - seen + 1) / odds
        seen += step
    return min(1.0, total)
