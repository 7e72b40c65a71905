"""`/metrics`: what this process knows of itself, in the Prometheus text format. No statement is sent for it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from omninode.server.live import LiveFeed
from omninode.server.node import Node

__all__ = ["exposition"]

# What a metric name may not hold.
_FOREIGN = re.compile(r"[^a-zA-Z0-9_]")
_STATES = ("closed", "half_open", "open")


def exposition(node: Node, feed: LiveFeed) -> str:
    """All metrics, each with its help line."""
    lines: list[str] = []
    for name, kind, text, samples in _families(node, feed):
        lines += [f"# HELP omninode_{name} {text}", f"# TYPE omninode_{name} {kind}"]
        lines += [f"omninode_{name}{_labelled(labels)} {value:.17g}" for labels, value in samples]
    return "\n".join(lines) + "\n"


_Samples = list[tuple[dict[str, str], float]]


def _families(node: Node, feed: LiveFeed) -> Iterator[tuple[str, str, str, _Samples]]:
    yield "info", "gauge", "The release that runs.", [({"version": node.version}, 1)]
    yield "simulated", "gauge", "1 when the models are the simulator's.", [({}, float(node.is_simulated))]
    pulse = feed.pulse()
    yield (
        "live_calls",
        "gauge",
        "Model calls seen in the last minute.",
        [
            ({"outcome": "ok"}, pulse.calls - pulse.failed),
            ({"outcome": "failed"}, pulse.failed),
        ],
    )
    quantiles = {"0.5": pulse.p50_ms, "0.95": pulse.p95_ms}
    yield (
        "live_call_duration_seconds",
        "gauge",
        "Duration of those calls, by quantile.",
        [({"quantile": quantile}, value / 1000) for quantile, value in quantiles.items() if value is not None],
    )
    yield (
        "live_cost_usd",
        "gauge",
        "What those calls cost, as far as their prices are known.",
        [({}, pulse.cost_uusd / 1e6)],
    )
    yield "runs_running", "gauge", "Runs that are going on.", [({}, pulse.running)]
    statistics = feed.statistics()
    yield "live_viewers", "gauge", "Open live streams.", [({}, statistics.viewers)]
    yield "live_entries_total", "counter", "Entries taken into the live feed.", [({}, statistics.entries)]
    yield from _telemetry(node)
    yield (
        "breaker_state",
        "gauge",
        "1 for the state each breaker of this process is in.",
        [
            ({"breaker": view.name, "state": state}, float(view.state == state))
            for view in node.breakers()
            for state in _STATES
        ],
    )
    yield from _sharing(node)
    for name, value in sorted(node.resources().items()):
        yield f"resource_{_FOREIGN.sub('_', name)}", "gauge", "The last sample of this process.", [({}, value)]


def _sharing(node: Node) -> Iterator[tuple[str, str, str, _Samples]]:
    sharing = node.sharing()
    if sharing is None:
        return
    hears = float(sharing.mode in ("listening", "polling"))
    yield "breaker_sharing", "gauge", "1 while breakers that open in other processes are heard of.", [({}, hears)]
    yield "breaker_news_total", "counter", "News of breakers in other processes.", [({}, sharing.heard)]
    yield "breaker_sensitised_total", "counter", "Breakers told to need less evidence.", [({}, sharing.sensitised)]


def _telemetry(node: Node) -> Iterator[tuple[str, str, str, _Samples]]:
    spool = node.spool()
    if spool is not None:
        yield "spool_waiting_rows", "gauge", "Rows that wait for the database.", [({}, spool.waiting)]
        yield (
            "spool_only_in_memory_rows",
            "gauge",
            "Rows of those that the disk did not take.",
            [({}, spool.only_in_memory)],
        )
        yield (
            "spool_rows_total",
            "counter",
            "Rows by what became of them.",
            [({"fate": fate}, count) for fate, count in spool.fates().items()],
        )
        yield (
            "spool_dropped_rows_total",
            "counter",
            "Rows that were dropped, by table.",
            [({"table": table}, count) for table, count in sorted(spool.dropped.items())],
        )
    dropped = node.bus.statistics().dropped
    yield (
        "events_dropped_total",
        "counter",
        "Events that were dropped, by class.",
        [({"class": name}, count) for name, count in sorted(dropped.items())],
    )


def _labelled(labels: dict[str, str]) -> str:
    if not labels:
        return ""
    pairs = (f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return "{" + ",".join(pairs) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
