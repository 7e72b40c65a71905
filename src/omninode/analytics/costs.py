"""What calls to models cost, per model, agent, day; what is unpriced is said, never taken for zero."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from omninode.analytics.period import Period, bounded
from omninode.analytics.source import Analytics
from omninode.core.errors import InvalidArgumentError

__all__ = ["CostAnalytics", "CostLine", "CostSummary", "Dimension"]

Dimension = Literal["model", "deployment", "provider", "role", "agent", "day"]

_DIMENSIONS: tuple[Dimension, ...] = ("model", "deployment", "provider", "role", "agent", "day")
_CALLERS: tuple[Dimension, ...] = ("role", "agent")


@dataclass(frozen=True, slots=True, kw_only=True)
class CostLine:
    """The calls of one model (or agent, day, …). Money in micro-dollars.

    `cost_uusd` holds the priced calls only; `saved_uusd` is an estimate of what hits in the cache would have cost;
    `cost_per_success_uusd` is known for agents whose calls are all priced.
    """

    name: str
    calls: int
    failed: int
    cache_hits: int
    unpriced_calls: int
    unpriced_tokens: int
    tokens_in: int
    tokens_out: int
    cost_uusd: int
    saved_uusd: float
    cost_per_success_uusd: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CostSummary:
    """The whole period; `is_complete` False while some calls have no known price."""

    period: Period
    calls: int
    unpriced_calls: int
    unpriced_tokens: int
    tokens_in: int
    tokens_out: int
    cost_uusd: int
    saved_uusd: float
    runs: int
    successful_runs: int
    cost_per_success_uusd: float | None

    @property
    def is_complete(self) -> bool:
        """Whether every call had a price."""
        return self.unpriced_calls == 0


class CostAnalytics(Analytics):
    """Costs of all calls of the period. What is older than two days is known per hour."""

    async def by(self, dimension: Dimension, *, period: Period | None = None, limit: int = 100) -> tuple[CostLine, ...]:
        """One line per model, deployment, provider, role, agent or day (UTC) of the period (30 days), dearest first.

        Days come in their order. Calls that no agent made stand under the empty agent name.
        """
        if dimension not in _DIMENSIONS:
            raise InvalidArgumentError(f"costs are not told by {dimension!r}; choose {', '.join(_DIMENSIONS)}")
        when = period or self._last(days=30)
        limit = 500 if dimension == "day" else bounded(limit, most=500)
        statement = "lines_of_callers" if dimension in _CALLERS else "lines"
        rows = await self._fetch(f"analytics_costs.{statement}", when.since, when.until, dimension, limit)
        successes: dict[str, int] = {}
        if dimension == "agent":
            known = await self._fetch("analytics_costs.agent_successes", when.since, when.until)
            successes = {row["name"]: row["successes"] for row in known}
        lines = [_line(row, successes) for row in rows]
        return tuple(sorted(lines, key=lambda line: line.name) if dimension == "day" else lines)

    async def summary(self, *, period: Period | None = None) -> CostSummary:
        """The bill of the period (30 days), with the cost per successful run where every call is priced."""
        when = period or self._last(days=30)
        lines = await self.by("provider", period=when, limit=500)
        runs = (await self._fetch("analytics_costs.successes", when.since, when.until))[0]
        cost, unpriced = sum(line.cost_uusd for line in lines), sum(line.unpriced_calls for line in lines)
        return CostSummary(
            period=when,
            calls=sum(line.calls for line in lines),
            unpriced_calls=unpriced,
            unpriced_tokens=sum(line.unpriced_tokens for line in lines),
            tokens_in=sum(line.tokens_in for line in lines),
            tokens_out=sum(line.tokens_out for line in lines),
            cost_uusd=cost,
            saved_uusd=sum(line.saved_uusd for line in lines),
            runs=runs["runs"],
            successful_runs=runs["successes"],
            cost_per_success_uusd=cost / runs["successes"] if runs["successes"] and not unpriced else None,
        )


def _line(row: Any, successes: Mapping[str, int]) -> CostLine:  # Any: the driver's row
    cost, unpriced = row["cost_uusd"] or 0, row["unpriced_calls"]
    good = successes.get(row["name"], 0)
    return CostLine(
        name=row["name"],
        calls=row["calls"],
        failed=row["failed"],
        cache_hits=row["cache_hits"],
        unpriced_calls=unpriced,
        unpriced_tokens=row["unpriced_tokens"] or 0,
        tokens_in=row["tokens_in"] or 0,
        tokens_out=row["tokens_out"] or 0,
        cost_uusd=cost,
        saved_uusd=row["saved_uusd"] or 0.0,
        cost_per_success_uusd=cost / good if good and not unpriced else None,
    )
