"""Reliability: what is open, retried or degraded, and what happens to the rows on their way."""

from __future__ import annotations

from dataclasses import asdict
from typing import Final

from omninode.server.pages.now import percentiles
from omninode.server.pages.question import Panel, Question

__all__ = ["load", "local"]


async def load(question: Question) -> Panel:
    """Breakers and retries as stored, calls by deployment, batches, rows refused, and this process's own part."""
    stored = await question.rows("server_reliability.breakers")
    breakers: list[Panel] = [{**row, "retry_after_s": None} for row in stored]
    known = {row["name"] for row in breakers}
    own = [{**asdict(view), **_UNSTORED} for view in question.node.breakers() if view.name not in known]
    deployments = [_rates(dict(row)) for row in await question.windowed("server_reliability.deployments")]
    return {
        "breakers": [*breakers, *own],
        "retries": [_retry_rates(dict(row)) for row in await question.rows("server_reliability.retries")],
        "deployments": deployments,
        "degraded": [dict(row) for row in await question.windowed("server_reliability.degraded")],
        "batches": [dict(row) for row in await question.windowed("server_reliability.batches")],
        "dead_letters": [dict(row) for row in await question.windowed("server_reliability.dead_letters")],
        "totals": {
            "calls": sum(row["n"] - row["stopped"] for row in deployments),
            "attempts": sum(row["attempts"] for row in deployments),
            "retried": sum(row["retried"] for row in deployments),
            "recovered": sum(row["recovered"] for row in deployments),
            "degraded": sum(row["degraded"] for row in deployments),
            "newest": max((row["newest"] for row in deployments), default=None),
            "open": sum(row["state"] == "open" for row in breakers),
        },
        **local(question),
    }


def local(question: Question) -> Panel:
    """What this process knows without the store: spool, bus, live feed."""
    spool, sharing = question.node.spool(), question.node.sharing()
    bus = question.node.bus.statistics()
    return {
        "spool": {**asdict(spool), "dropped_total": sum(spool.dropped.values())} if spool else None,
        "sharing": asdict(sharing) if sharing else None,
        "bus": {
            "emitted": bus.emitted,
            "delivered": bus.delivered,
            "waiting": bus.waiting,
            "dropped_total": bus.dropped_total,
        },
        "dropped": dict(bus.dropped),
        "live": asdict(question.feed.statistics()),
    }


# What only a stored breaker tells.
_UNSTORED: Final = {"reopen_at": None, "opened_at": None, "updated_at": None}


def _rates(row: Panel) -> Panel:
    row |= percentiles(row.pop("latency"))
    return {
        **row,
        "failed": row["n"] - row["ok"] - row["stopped"],
        "attempts_per_call": row["attempts"] / max(1, row["n"] - row["stopped"]),
        "recovered_share": row["recovered"] / row["retried"] if row["retried"] else None,
    }


def _retry_rates(row: Panel) -> Panel:
    return {**row, "attempts_per_call": row["attempts"] / row["calls"] if row["calls"] else None}
