"""Phase six: many outputs become one result, many calls one line per model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from omninode.core.events import CallFinished
from omninode.workflow.task import TaskResult

__all__ = ["join_outputs", "summarise_models"]


def join_outputs(results: Sequence[TaskResult], *, is_simulated: bool) -> str:
    """All outputs as one Markdown text, in the order of the tasks; what is missing is said in its place."""
    parts = []
    if is_simulated:
        parts.append("> SIMULATED: these answers come from the bundled model simulator, not from a model.\n")
    for result in results:
        parts.append(f"## {result.task.id}: {result.task.description}\n")
        if result.is_ok:
            parts.append(f"*{result.task.agent}*\n\n{result.output.strip()}\n")
        else:
            parts.append(f"*{result.task.agent}: {result.status}*. {result.error or 'No reason was recorded.'}\n")
    return "\n".join(parts)


# Any: one JSON object per model.
def summarise_models(calls: Sequence[CallFinished]) -> Sequence[Mapping[str, Any]]:
    """One line per deployment: calls, failures, tokens, cost in dollars (None where unpriced), mean time."""
    groups: dict[tuple[str, str], list[CallFinished]] = defaultdict(list)
    for call in calls:
        groups[call.deployment, call.model].append(call)
    return [_line(deployment, model, members) for (deployment, model), members in sorted(groups.items())]


def _line(deployment: str, model: str, calls: Sequence[CallFinished]) -> Mapping[str, Any]:
    paid = [call for call in calls if call.cache in {"off", "miss"}]
    priced = [call.cost_uusd for call in paid if call.cost_uusd is not None]
    return {
        "deployment": deployment,
        "model": model,
        "calls": len(calls),
        "failed": sum(not call.ok for call in calls),
        "cache_hits": len(calls) - len(paid),
        "tokens_in": sum(call.tokens_in for call in paid),
        "tokens_out": sum(call.tokens_out for call in paid),
        "cost_usd": sum(priced) / 1_000_000 if priced else None,
        "mean_ms": round(sum(call.duration_ms for call in calls) / len(calls)),
    }
