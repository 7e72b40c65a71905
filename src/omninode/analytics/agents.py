"""How agents do: outcomes tracked, summed up, ranked and recommended."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from omninode.analytics.outcomes import (
    AgentOutcomeRow,
    AgentStanding,
    AgentSummary,
    AgentTrendPoint,
    outcome_row,
    records,
    standings,
    summary_of,
    trend_point,
)
from omninode.analytics.period import Bucket, Period, bounded, bucket_width
from omninode.analytics.recommend import Recommendations, ranked
from omninode.analytics.source import Analytics
from omninode.core import current
from omninode.core.errors import InvalidArgumentError
from omninode.core.events import AgentOutcome, EventSink
from omninode.monitoring.runs import as_run_id
from omninode.telemetry.redact import redact

__all__ = ["AgentAnalytics", "get_agent_recommendations", "track_agent_performance"]

Labels = Mapping[str, Any]  # Any: labels as JSON can hold them

_LAST_ID = UUID(int=(1 << 128) - 1)


class AgentAnalytics(Analytics):
    """Tracks outcomes of agents and answers who is good at what, from the database.

    Without arguments it uses the open runtime, or one opened now. A tracked outcome goes the way of all events when
    there is a sink (stored within two seconds, the caller never waits), and straight into the database when there is
    none.
    """

    async def track_agent_performance(
        self,
        agent_id: str,
        task_type: str,
        *,
        success: bool,
        duration_ms: float,
        run_id: UUID | str | None = None,
        **details: Any,  # Any: the optional fields of AgentOutcome, checked by it
    ) -> AgentOutcome:
        """Record how `agent_id` did on a task, and return the outcome as recorded.

        `details` may hold tokens_in, tokens_out, cost_uusd (None where unpriced), error_class, metadata, phase.
        Raises InvalidArgumentError for an impossible duration; without a sink, whatever the database raises.
        """
        outcome = _outcome(
            agent_id=agent_id,
            task_type=task_type,
            success=success,
            duration_ms=duration_ms,
            run_id=run_id,
            **details,
        )
        sink = await self._sink()
        if sink is not None:
            sink.emit(outcome)
        else:
            await self._record(outcome)
        return outcome

    async def get_agent_recommendations(
        self, task_type: str, context: Labels | None = None, limit: int = 3, *, period: Period | None = None
    ) -> Recommendations:
        """The best agents for `task_type` by what they did in the period (30 days), with reasons and sample sizes.

        `context` narrows to outcomes whose metadata holds the same entries, for agents with at least five of those.
        A task type nobody has met yet is answered from all types, and says so; with no outcomes at all nobody is
        recommended.
        """
        limit = bounded(limit, most=100)
        when = period or self._last(days=30)
        asked = (task_type, when.since, when.until)
        if context:
            rows = await self._fetch("analytics_agents.records_in_context", *asked, dict(context))
        else:
            rows = await self._fetch("analytics_agents.records_of_type", *asked)
        if rows:
            return ranked(task_type, records(rows, "task_type", is_narrowed=bool(context)), limit=limit)
        rows = await self._fetch("analytics_agents.records_of_all_types", when.since, when.until)
        return ranked(task_type, records(rows, "all_types"), limit=limit)

    async def summary(self, agent_id: str, *, period: Period | None = None) -> AgentSummary:
        """What is known of one agent over the period (30 days)."""
        when = period or self._last(days=30)
        asked = (agent_id, when.since, when.until)
        types = await self._fetch("analytics_agents.types_of_agent", *asked)
        errors = await self._fetch("analytics_agents.errors_of_agent", *asked)
        return summary_of(agent_id, when, types=types, errors=errors)

    async def leaderboard(
        self, *, task_type: str | None = None, period: Period | None = None, limit: int = 50
    ) -> tuple[AgentStanding, ...]:
        """Agents by the lower end of their success interval, best first; of one task type, or of all.

        `adjusted_success_rate` compares agents as if all had met the same mix of task types.
        """
        limit = bounded(limit, most=500)
        when = period or self._last(days=30)
        rows = await self._fetch("analytics_agents.standings", when.since, when.until)
        chosen = [row for row in rows if task_type is None or row["task_type"] == task_type]
        return standings(chosen)[:limit]

    async def trends(
        self,
        agent_id: str | None = None,
        *,
        task_type: str | None = None,
        bucket: Bucket = "day",
        period: Period | None = None,
    ) -> tuple[AgentTrendPoint, ...]:
        """Outcomes per bucket over the period (30 days), empty buckets included, oldest first."""
        when = period or self._last(days=30)
        starts = when.starts(bucket)
        rows = await self._fetch(
            "analytics_agents.per_bucket", bucket_width(bucket), when.since, when.until, agent_id, task_type
        )
        known = {row["start"]: row for row in rows}
        return tuple(trend_point(start, known.get(start)) for start in starts)

    async def outcomes(
        self,
        agent_id: str,
        *,
        before: tuple[datetime, UUID] | None = None,
        period: Period | None = None,
        limit: int = 50,
    ) -> tuple[AgentOutcomeRow, ...]:
        """One page of an agent's outcomes, newest first; `before` is (`at`, `id`) of the last one seen."""
        when = period or self._last(days=30)
        at, last = before or (when.until, _LAST_ID)
        rows = await self._fetch("analytics_agents.outcomes", agent_id, when.since, at, last, bounded(limit, most=500))
        return tuple(outcome_row(row) for row in rows)

    async def _record(self, outcome: AgentOutcome) -> None:
        from omninode.storage.rollup import Rollups  # here because it brings the driver

        row = {
            "id": outcome.id,
            "ts": datetime.fromtimestamp(outcome.at_ns / 1e9, tz=UTC),
            "run_id": outcome.run_id,
            "agent_id": outcome.agent_id,
            "task_type": outcome.task_type,
            "success": outcome.success,
            "duration_ms": round(outcome.duration_ms),
            "tokens_in": outcome.tokens_in,
            "tokens_out": outcome.tokens_out,
            "cost_uusd": outcome.cost_uusd,
            "error_class": outcome.error_class,
            "metadata": dict(outcome.metadata),
        }
        async with (await self._database()).transaction(doing="an agent's outcome") as session:
            if await session.execute("analytics_agents.record", *row.values()):
                await Rollups().add(session, "agent_performance", [row])


async def track_agent_performance(
    agent_id: str,
    task_type: str,
    *,
    success: bool,
    duration_ms: float,
    run_id: UUID | str | None = None,
    sink: EventSink | None = None,
    **details: Any,  # Any: the optional fields of AgentOutcome, checked by it
) -> AgentOutcome:
    """Record how an agent did on a task, through `sink`, or the open runtime or one opened now; see `AgentAnalytics`."""
    return await AgentAnalytics(sink=sink).track_agent_performance(
        agent_id, task_type, success=success, duration_ms=duration_ms, run_id=run_id, **details
    )


async def get_agent_recommendations(
    task_type: str, context: Labels | None = None, limit: int = 3, *, period: Period | None = None
) -> Recommendations:
    """The best agents for `task_type` by what the open runtime's database knows; see `AgentAnalytics`."""
    return await AgentAnalytics().get_agent_recommendations(task_type, context, limit, period=period)


def _outcome(
    *,
    agent_id: str,
    task_type: str,
    success: bool,
    duration_ms: float,
    run_id: UUID | str | None,
    **details: Any,  # Any: as above
) -> AgentOutcome:
    if not 0 <= duration_ms < math.inf:
        raise InvalidArgumentError(f"agent {agent_id!r} took {duration_ms} ms; pass zero or more")
    if not agent_id or not task_type:
        raise InvalidArgumentError(f"agent_id is {agent_id!r} and task_type {task_type!r}; both need a name")
    scope = current.scope()
    details.setdefault("phase", scope.phase)
    details["metadata"] = redact(dict(details.get("metadata") or {}))
    try:
        return AgentOutcome(
            run_id=scope.run_id if run_id is None else as_run_id(run_id),
            agent_id=agent_id,
            task_type=task_type,
            success=success,
            duration_ms=duration_ms,
            **details,
        )
    except TypeError as error:
        raise InvalidArgumentError(f"an outcome has no such detail: {error}") from error
