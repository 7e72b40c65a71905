"""Counting votes. Pure functions: the same votes in any order give the same result.

The three decisions lie in an order, and the weighted median of the votes decides: PASS when votes for PASS have more
than half of the counted weight, FAIL when those for FAIL have, RETRY otherwise. So a split panel has the plan made
again instead of carried out or given up. Weights are compared as exact fractions: no rounding decides a vote.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from omninode.core.errors import InvalidArgumentError
from omninode.quorum.vote import Decision, Vote

__all__ = ["Tally", "count", "decide", "is_settled", "merge_deficiencies"]

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What the counted votes amount to.

    `confidence` is agreement, not probability: the share of the counted weight behind the decision, times the
    weighted mean confidence those voters claim for themselves. Nobody has checked those claims against outcomes, and
    voters err together, so 0.9 does not mean that nine such plans in ten are good. It is 0 for a RETRY that nobody
    voted for (the panel was split between PASS and FAIL).
    """

    decision: Decision
    confidence: float
    scores: Mapping[str, float]
    deficiencies: tuple[str, ...]


def decide(votes: Iterable[Vote]) -> Decision:
    """The decision of the counted among `votes`; raises InvalidArgumentError when there is none."""
    counted = _counted(votes)
    if not counted:
        raise InvalidArgumentError("no vote was counted, so nothing is decided")
    for_pass, for_retry, for_fail = _sums(counted)
    if for_pass > for_retry + for_fail:
        return Decision.PASS
    return Decision.FAIL if for_fail > for_pass + for_retry else Decision.RETRY


def is_settled(votes: Iterable[Vote], outstanding: Sequence[float], *, minimum: int = 1) -> bool:
    """Whether no outcome of the outstanding votes, each cast or lost, can change the decision.

    Exact both ways: true as soon as it can be, never before. Also true when fewer than `minimum` votes can be counted
    any more. `outstanding` holds the weights of the voters still asked.
    """
    counted = _counted(votes)
    if len(counted) < minimum:
        return len(counted) + len(outstanding) < minimum
    for_pass, for_retry, for_fail = _sums(counted)
    rest = sum((Fraction(weight) for weight in outstanding), Fraction(0))
    is_passed = for_pass > for_retry + for_fail + rest
    is_failed = for_fail > for_pass + for_retry + rest
    is_split = for_pass + rest <= for_retry + for_fail and for_fail + rest <= for_pass + for_retry
    return is_passed or is_failed or is_split


def count(votes: Iterable[Vote]) -> Tally:
    """The tally of the counted among `votes`; raises InvalidArgumentError when there is none."""
    counted = _counted(votes)
    decision = decide(counted)
    return Tally(
        decision=decision,
        confidence=_confidence(counted, decision),
        scores=_scores(counted),
        deficiencies=merge_deficiencies(counted),
    )


def merge_deficiencies(votes: Iterable[Vote]) -> tuple[str, ...]:
    """What the counted votes find wanting, each once, the one with most weight behind it first.

    Two wordings are one deficiency when they consist of the same words, whatever their case and punctuation: "nothing
    covers 'docs'" and "nothing covers 'tests'" stay two. Equal support is ordered by how early voters named it, then
    alphabetically, so that the order of the votes plays no part.
    """
    support: dict[tuple[str, ...], Fraction] = {}
    rank: dict[tuple[str, ...], int] = {}
    wording: dict[tuple[str, ...], str] = {}
    for vote in _counted(votes):
        own: set[tuple[str, ...]] = set()
        for place, text in enumerate(vote.deficiencies):
            clean = " ".join(text.split())
            key = tuple(_WORD.findall(clean.casefold()))
            if not key or key in own:
                continue
            own.add(key)
            support[key] = support.get(key, Fraction(0)) + Fraction(vote.weight)
            rank[key] = min(rank.get(key, place), place)
            wording[key] = min(wording.get(key, clean), clean)
    return tuple(wording[key] for key in sorted(support, key=lambda key: (-support[key], rank[key], key)))


def _counted(votes: Iterable[Vote]) -> list[Vote]:
    return [vote for vote in votes if vote.is_counted and vote.decision is not None]


def _sums(counted: Sequence[Vote]) -> tuple[Fraction, Fraction, Fraction]:
    sums = dict.fromkeys(Decision, Fraction(0))
    for vote in counted:
        assert vote.decision is not None
        sums[vote.decision] += Fraction(vote.weight)
    return sums[Decision.PASS], sums[Decision.RETRY], sums[Decision.FAIL]


def _confidence(counted: Sequence[Vote], decision: Decision) -> float:
    behind = [vote for vote in counted if vote.decision is decision]
    if not behind:
        return 0.0
    share = math.fsum(vote.weight for vote in behind) / math.fsum(vote.weight for vote in counted)
    return share * _mean([(vote.weight, vote.confidence or 0.0) for vote in behind])


def _scores(counted: Sequence[Vote]) -> dict[str, float]:
    """Weighted means: `overall`, and each criterion over the voters who gave it."""
    scores = {"overall": _mean([(vote.weight, vote.score or 0.0) for vote in counted])}
    for name in sorted({name for vote in counted for name in vote.scores}):
        scores[name] = _mean([(vote.weight, vote.scores[name]) for vote in counted if name in vote.scores])
    return scores


def _mean(pairs: Sequence[tuple[float, float]]) -> float:
    # fsum rounds once, so the order of the pairs does not show.
    return math.fsum(weight * value for weight, value in pairs) / math.fsum(weight for weight, _ in pairs)
