"""What a call used and what it cost.

Money is whole micro-dollars, so that a million small calls add up exactly. A price nobody knows is counted as
unpriced; it is never taken for zero.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Cost", "Usage", "total_cost", "total_usage"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens as the provider counted them; `is_estimated` where it did not say and we counted ourselves."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    is_estimated: bool = False

    @property
    def total_tokens(self) -> int:
        """Input and output together (cache reads are part of the input)."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cache_read_tokens=self.cache_read_tokens + other.cache_read_tokens,
            is_estimated=self.is_estimated or other.is_estimated,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Money spent, in micro-dollars, and how many calls had no known price."""

    micro_usd: int = 0
    unpriced_calls: int = 0

    @classmethod
    def unpriced(cls) -> Cost:
        """The cost of one call whose price is unknown."""
        return cls(unpriced_calls=1)

    @property
    def is_complete(self) -> bool:
        """Whether every call in it had a price."""
        return self.unpriced_calls == 0

    @property
    def usd(self) -> float:
        """The priced part in dollars, for display."""
        return self.micro_usd / 1_000_000

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            micro_usd=self.micro_usd + other.micro_usd, unpriced_calls=self.unpriced_calls + other.unpriced_calls
        )


def total_usage(parts: Iterable[Usage]) -> Usage:
    """The sum; all zero for none."""
    return sum(parts, Usage())


def total_cost(parts: Iterable[Cost]) -> Cost:
    """The sum; zero and complete for none."""
    return sum(parts, Cost())
