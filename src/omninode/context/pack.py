"""Choosing what fits: the most valuable items within a token budget, and each task's own share of the context.

A knapsack. As long as items times tokens stay small, it is solved exactly; beyond that greedily by value per token.
Greedy alone can be arbitrarily bad (one large good item lost to a small poor one), so it is tried from each of the
best few items as well: the better of it and the best single item is worth at least half the optimum.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from omninode.context.item import ContextItem
from omninode.context.lexical import tokenize
from omninode.core.errors import InvalidArgumentError

__all__ = ["Packed", "Shares", "pack"]

_SEEDS = 24
# Cells of the exact table, one byte each: 50 items in 40,000 tokens take some ten milliseconds.
_EXACT_CELLS = 2_000_000
# Saturation of repeated words, as in BM25.
_K1 = 1.2
_RANK_SHARE = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """What was taken, best first, and what was left out; `missed_must` are the wanted ids that did not fit."""

    items: tuple[ContextItem, ...]
    left_out: tuple[ContextItem, ...]
    tokens: int
    budget_tokens: int
    value: float
    missed_must: tuple[str, ...] = ()


def pack(
    items: Iterable[ContextItem],
    budget_tokens: int,
    *,
    must: Collection[str] = (),
    value: Callable[[ContextItem], float] | None = None,
    method: Literal["best", "greedy"] = "best",
) -> Packed:
    """The items to send, never more tokens than the budget.

    Args:
        items: what there is; of two with one id the first counts.
        budget_tokens: how many tokens they may have together.
        must: ids taken before all others, in the order of `items`, as far as they fit.
        value: what an item is worth, by default its score; items worth nothing are left out.
        method: `best` is exact where that is cheap, `greedy` never.
    """
    if budget_tokens < 0:
        raise InvalidArgumentError(f"a budget of {budget_tokens} tokens; pass zero or more")
    known = list({item.id: item for item in reversed(list(items))}.values())[::-1]
    worth = {item.id: (value(item) if value is not None else item.score) for item in known}
    wanted = [item for item in known if item.id in must]
    first = _fitting(wanted, budget_tokens)
    left = budget_tokens - _tokens(first)
    others = [item for item in known if item.id not in must and worth[item.id] > 0 and item.tokens <= left]
    is_small = len(others) * (left + 1) <= _EXACT_CELLS
    choose = _exact if method == "best" and is_small else _greedy
    taken = sorted([*first, *choose(others, left, worth)], key=lambda item: -worth[item.id])
    ids = {item.id for item in taken}
    return Packed(
        items=tuple(taken),
        left_out=tuple(item for item in known if item.id not in ids),
        tokens=_tokens(taken),
        budget_tokens=budget_tokens,
        value=sum(worth[identity] for identity in ids),
        missed_must=tuple(item.id for item in wanted if item.id not in ids),
    )


def _exact(items: Sequence[ContextItem], budget: int, worth: dict[str, float]) -> list[ContextItem]:
    """The most valuable filling there is, by dynamic programming over the tokens left."""
    if _tokens(items) <= budget:
        return list(items)
    import numpy as np

    best = np.zeros(budget + 1)
    is_taken = np.zeros((len(items), budget + 1), dtype=bool)
    for row, item in enumerate(items):
        size = item.tokens
        with_it = best[: budget + 1 - size] + worth[item.id]
        is_taken[row, size:] = with_it > best[size:]
        best[size:] = np.maximum(best[size:], with_it)
    chosen, room = [], budget
    for row in range(len(items) - 1, -1, -1):
        if is_taken[row, room]:
            chosen.append(items[row])
            room -= items[row].tokens
    return chosen


def _greedy(items: Sequence[ContextItem], budget: int, worth: dict[str, float]) -> list[ContextItem]:
    """The most valuable of several greedy fillings: from nothing, and from each of the best single items."""
    by_density = sorted(items, key=lambda item: (-worth[item.id] / max(1, item.tokens), item.tokens))
    seeds = sorted(items, key=lambda item: -worth[item.id])[:_SEEDS]
    fillings = [_fitting(by_density, budget)]
    for seed in seeds:
        rest = [item for item in by_density if item is not seed]
        fillings.append([seed, *_fitting(rest, budget - seed.tokens)])
    return max(fillings, key=lambda filling: sum(worth[item.id] for item in filling))


def _fitting(items: Iterable[ContextItem], budget: int) -> list[ContextItem]:
    taken = []
    for item in items:
        if item.tokens <= budget:
            taken.append(item)
            budget -= item.tokens
    return taken


def _tokens(items: Iterable[ContextItem]) -> int:
    return sum(item.tokens for item in items)


class Shares:
    """Deals one gathered context out to several tasks: to each what bears on its own description.

    Reading the words of all items is done once, in the constructor, which may take some milliseconds; `of` does that
    on a thread.
    """

    def __init__(self, items: Iterable[ContextItem]) -> None:
        self._items = tuple(items)
        self._words = {item.id: Counter(tokenize(f"{item.title} {item.content}")) for item in self._items}
        spread = Counter(word for words in self._words.values() for word in words)
        count = len(self._items)
        self._rarity = {word: math.log(1 + (count - seen + 0.5) / (seen + 0.5)) for word, seen in spread.items()}
        best = max((item.score for item in self._items), default=0.0)
        self._rank = {item.id: item.score / best if best > 0 else 0.0 for item in self._items}

    @classmethod
    async def of(cls, items: Iterable[ContextItem]) -> Shares:
        """Shares of `items`, prepared beside the event loop."""
        return await asyncio.to_thread(cls, tuple(items))

    def relevance(self, description: str) -> dict[str, float]:
        """How much each item bears on `description`, from 0 to 1: its words there, by how rare they are here."""
        wanted = set(tokenize(description)) & self._rarity.keys()
        most = sum(self._rarity[word] for word in wanted)
        if most <= 0:
            return dict.fromkeys(self._words, 0.0)
        return {
            identity: sum(self._rarity[word] * words[word] / (words[word] + _K1) for word in wanted) / most
            for identity, words in self._words.items()
        }

    def share(
        self, description: str, budget_tokens: int, *, must: Collection[str] = (), without: Collection[str] = ()
    ) -> Packed:
        """The share of the task so described. Items that have nothing to do with it count a little, by their rank.

        Items of the context types in `without` are worth nothing; those in `must` are sent all the same.
        """
        relevance = self.relevance(description)

        def value(item: ContextItem) -> float:
            if item.context_type in without:
                return 0.0
            return (1 - _RANK_SHARE) * relevance[item.id] + _RANK_SHARE * self._rank[item.id]

        return pack(self._items, budget_tokens, must=must, value=value)
