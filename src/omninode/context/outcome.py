"""From how a task ended to what each source earned, and to the rows that keep it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from omninode.context.decision import Decision
from omninode.context.item import ContextItem, SourceReport
from omninode.core.ids import uuid7

__all__ = ["Outcome", "Pending", "rewards_of", "rows_of"]


@dataclass(slots=True)
class Pending:
    """A decision whose outcome may still come, with how its sources did."""

    decision: Decision
    run_id: UUID | None
    reports: Mapping[str, SourceReport] = field(default_factory=dict)
    is_recorded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a task ended: the reward by source, how it was found (`cited`, `outcome`), and the task it was."""

    rewards: Mapping[str, float] = field(default_factory=dict)
    kind: str | None = None
    task_type: str
    agent_id: str | None = None
    features: Sequence[float] = ()


def rewards_of(
    pending: Pending,
    *,
    types: set[str],
    used: Sequence[ContextItem] | None,
    earned: float,
    without: Collection[str] = (),
) -> dict[str, float]:
    """The reward of each source that was asked and answered.

    With `used` a source earns `earned` when one of its items was used and nothing otherwise; without, all (or those
    of `types`) share it. Sources in `without` get none. A source that was down or late has shown nothing and gets no reward.
    """
    asked = [
        choice
        for choice in pending.decision.choices
        if choice.included
        and choice.source not in without
        and (choice.source not in pending.reports or pending.reports[choice.source].answered)
    ]
    if used is None:
        return {choice.source: earned for choice in asked if not types or choice.context_type in types}
    helped = {source for item in used for source in (item.source, *item.metadata.get("origins", ()))}
    return {choice.source: earned if choice.source in helped else 0.0 for choice in asked}


def rows_of(pending: Pending, outcome: Outcome, *, now: datetime) -> list[dict[str, object]]:
    """Rows of `context_learning`: one per source with a reward, and once per decision one for each of the others."""
    rows: list[dict[str, object]] = []
    for choice in pending.decision.choices:
        is_rewarded = choice.source in outcome.rewards
        if pending.is_recorded and not is_rewarded:
            continue
        report = pending.reports.get(choice.source)
        rows.append(
            {
                "id": str(uuid7()),
                "ts": now.isoformat(),
                "decision_id": str(pending.decision.id),
                "run_id": None if pending.run_id is None else str(pending.run_id),
                "agent_id": outcome.agent_id,
                "task_type": outcome.task_type,
                "prompt_hash": pending.decision.prompt_hash,
                "features": list(outcome.features or pending.decision.features),
                "source": choice.source,
                "context_type": choice.context_type,
                "included": choice.included,
                "propensity": choice.propensity,
                "items": report.items if report else 0,
                "latency_ms": round(report.duration_ms) if report else 0,
                "tokens": report.tokens if report else 0,
                "reward": outcome.rewards.get(choice.source),
                "reward_kind": outcome.kind if is_rewarded else None,
            }
        )
    pending.is_recorded = True
    return rows
