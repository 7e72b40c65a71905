"""A retry budget: successes pay for retries, so that retries cannot keep an overloaded target down.

A bucket per target. In ordinary times it is full and nobody notices it; when most attempts fail it runs dry, and a
failed call then fails at once instead of adding load. A retry after a timeout or a throttled answer costs ten times
one after a quick error, because it costs the other side that much more.
"""

from __future__ import annotations

from dataclasses import dataclass

from omninode.resilience.classify import Outcome
from omninode.resilience.ranges import require_share

__all__ = ["BudgetConfig", "RetryBudget"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetConfig:
    """A bucket of tokens. Retries of a target are at most `ratio / cost` per success, plus `size / cost` in a burst.

    Args:
        size: what it holds at most, at least 1.
        start: what it holds at first.
        ratio: what a success adds.
        cost: what a retry costs after an error that came quickly.
        slow_cost: what a retry costs after a timeout or a throttled answer; at most `size`, as all of them.

    The method is that of Finagle's `RetryBudget` and of the retry quota in the AWS SDKs.
    """

    size: float = 20.0
    start: float = 10.0
    ratio: float = 1.0
    cost: float = 1.0
    slow_cost: float = 10.0

    def __post_init__(self) -> None:
        owner = "BudgetConfig"
        require_share(owner, "size", self.size, low=1.0, high=1e9)
        require_share(owner, "start", self.start, high=self.size)
        require_share(owner, "ratio", self.ratio, high=1e6)
        require_share(owner, "cost", self.cost, high=self.size)
        require_share(owner, "slow_cost", self.slow_cost, high=self.size)


class RetryBudget:
    """The tokens of one target."""

    __slots__ = ("config", "denied", "tokens")

    def __init__(self, config: BudgetConfig | None = None) -> None:
        self.config = config or BudgetConfig()
        self.tokens = self.config.start
        self.denied = 0

    def deposit(self) -> None:
        """Add what a success is worth."""
        if self.tokens < self.config.size:
            self.tokens = min(self.config.size, self.tokens + self.config.ratio)

    def withdraw(self, outcome: Outcome, *, is_asked: bool = False) -> bool:
        """Take the price of a retry after `outcome`; False, and counted in `denied`, when there is too little.

        A throttled answer that named a wait (`is_asked`) costs what a quick error does: the retry keeps to it.
        """
        is_slow = outcome is Outcome.TIMEOUT or (outcome is Outcome.OVERLOAD and not is_asked)
        price = self.config.slow_cost if is_slow else self.config.cost
        if self.tokens < price:
            self.denied += 1
            return False
        self.tokens -= price
        return True
