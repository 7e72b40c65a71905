"""`/metrics`: what this process knows of itself, in the Prometheus text format. No statement is sent for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from omninode.server.live import LiveFeed
from omninode.server.node import Node
from omninode.storage.database import DatabaseStatistics
from omninode.storage.lanes import LaneStatistics

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
    if node.database is not None:
        yield from _pool(node.database.statistics())
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


# Of each lane: the family's name, its kind, its help, and the figure. The wait has two, and stands apart.
_OF_LANES: tuple[tuple[str, str, str, Callable[[LaneStatistics], float]], ...] = (
    ("pool_places", "gauge", "Connections each lane of the database pool has.", lambda lane: lane.size),
    ("pool_in_use", "gauge", "Connections each lane holds.", lambda lane: lane.in_use),
    ("pool_waiting", "gauge", "Callers that wait for a connection.", lambda lane: lane.waiting),
    ("pool_oldest_use_seconds", "gauge", "How long the longest holder has held its.", lambda lane: lane.oldest_use_s),
    ("pool_acquired_total", "counter", "Connections that were given out.", lambda lane: lane.acquired),
    ("pool_timeouts_total", "counter", "Callers that got none in time.", lambda lane: lane.timeouts),
)


def _pool(pool: DatabaseStatistics) -> Iterator[tuple[str, str, str, _Samples]]:
    yield "pool_connections", "gauge", "Database connections that are open.", [({}, pool.open)]
    yield "pool_failed_connects_total", "counter", "Tries to connect that failed.", [({}, pool.failed_connects)]
    yield "pool_discarded_total", "counter", "Connections that broke and were replaced.", [({}, pool.discarded)]
    for name, kind, text, figure in _OF_LANES:
        yield name, kind, text, [({"lane": lane.value}, figure(one)) for lane, one in pool.lanes.items()]
    yield (
        "pool_wait_seconds",
        "gauge",
        "Recent waits for a connection, by quantile.",
        [
            ({"lane": lane.value, "quantile": quantile}, wait_ms / 1000)
            for lane, one in pool.lanes.items()
            for quantile, wait_ms in (("0.5", one.wait_p50_ms), ("0.99", one.wait_p99_ms))
        ],
    )


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
