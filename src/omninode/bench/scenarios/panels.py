"""What a chart and a run's page cost when the database holds two million spans of a week."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from omninode.bench.measure import Spread, interleave
from omninode.bench.scenario import Figure, Findings, Scenario, Table, at_least, at_most
from omninode.bench.surroundings import Surroundings
from omninode.storage.config import PoolConfig
from omninode.storage.database import Database
from omninode.storage.optimizer import PerformanceOptimizer
from omninode.storage.partitions import WIDTHS, children, missing_children
from omninode.storage.rollup import recount

__all__ = ["SCENARIO"]

_SPANS = 2_000_000
# Seven phases, four sources, five calls, three tasks and a vote.
_SPANS_A_RUN = 20
_DAY, _WEEK = timedelta(days=1), timedelta(days=7)
_MADE = ("runs", "metrics", "calls", "tasks", "outcomes", "votes", "errors")
_DETAIL = ("one", "metrics", "tasks", "calls", "votes", "errors")
_GAUGES = ["cpu_percent", "loop_lag_ms"]
_FINGERPRINTS = [f"fingerprint-{number}" for number in range(40)]


async def _run(room: Surroundings) -> Findings:
    whole = await room.database()
    async with Database.open(whole.config, pool=PoolConfig(size=2, statement_timeout_s=900)) as database:
        until = datetime.now(UTC).replace(second=0, microsecond=0)
        spans = await _make_week(database, until, runs=room.scaled(_SPANS // _SPANS_A_RUN, least=50))
        rounds = room.scaled(40, least=3)
        times = {
            f"{name}, {label}": await _times(database, name, [arguments] * rounds)
            for label, span in (("24 hours", _DAY), ("7 days", _WEEK))
            for name, arguments in _questions(until, span).items()
        }
        ids = [row["id"] for row in await database.fetch("bench_panels.some_runs", rounds)]
        parts = {f"server_runs.{part}": await _detail(database, part, ids) for part in _DETAIL}
        detail = [sum(times) for times in zip(*parts.values(), strict=True)]
        whole_scans = await _whole_scans(database)
        ratio = await _against_rows(database, until, rounds=rounds, budget_s=room.budget_s(60))
        await database.execute("bench_panels.clear")
        await recount(database, until - 8 * _DAY)
    worst = {name: _p95(values) for name, values in times.items()}
    return Findings(
        figures=(
            Figure(
                name="p95 of the slowest rollup query",
                spread=Spread.of([max(worst.values())]),
                unit="ms",
                target=at_most(50),
            ),
            Figure(name="p95 of all rollup queries", spread=Spread.of(list(worst.values())), unit="ms"),
            Figure(
                name="p95 of a run's page, six queries", spread=Spread.of([_p95(detail)]), unit="ms", target=at_most(10)
            ),
            Figure(
                name="queries that read a whole table", spread=Spread.of([len(whole_scans)]), unit="", target=at_most(0)
            ),
            Figure(name="a chart of 7 days: rows / rollup", spread=ratio, target=at_least(1)),
        ),
        notes=(
            f"{spans:,} spans of 7 days, made by the server; cached; every query {rounds} times",
            *(f"reads a whole table: {name}" for name in whole_scans),
        ),
        table=Table(
            headings=("query", "median ms", "p95 ms"),
            rows=[
                (name, f"{Spread.of(values).median:.1f}", f"{_p95(values):.1f}")
                for name, values in (times | parts).items()
            ],
        ),
    )


def _questions(until: datetime, span: timedelta) -> Mapping[str, tuple[object, ...]]:
    """Every statement of the dashboard and the analytics that is about a stretch of time, with its values."""
    period = (until - span, until)
    bucket = span / 72
    hour = timedelta(hours=1)
    return {
        "server_now.runs": period,
        "server_now.calls": period,
        "server_now.series": (*period, bucket),
        "server_now.run_series": (*period, bucket),
        "server_now.gauges": (*period, _GAUGES),
        "server_now.gauge_series": (*period, bucket, _GAUGES),
        "server_now.phases": period,
        "server_agents.task_types": period,
        "server_cost.models": period,
        "server_errors.series": (*period, bucket, _FINGERPRINTS),
        "server_reliability.deployments": period,
        "server_reliability.degraded": period,
        "analytics_agents.records_of_type": ("type-1", *period),
        "analytics_agents.records_of_all_types": period,
        "analytics_agents.standings": period,
        "analytics_agents.types_of_agent": ("agent-3", *period),
        "analytics_agents.errors_of_agent": ("agent-3", *period),
        "analytics_agents.per_bucket": (hour, *period, None, None),
        "analytics_costs.lines": (*period, "model", 100),
        "analytics_costs.lines_of_callers": (*period, "agent", 100),
        "analytics_costs.successes": period,
        "analytics_costs.agent_successes": period,
        "analytics_errors.groups": (*period, None, None, 200),
        "analytics_trends.calls": (hour, *period, None),
        "analytics_trends.runs": (hour, *period, None),
        "analytics_trends.phases": (hour, *period, None),
        "analytics_trends.metric": (hour, *period, "source_duration_ms"),
        "analytics_trends.errors": (hour, *period, None),
    }


async def _make_week(database: Database, until: datetime, *, runs: int) -> int:
    async with database.acquire(doing="bench") as session:
        known = await children(session)
        moments = [until - number * _DAY for number in range(8)]
        for table, width in WIDTHS.items():
            own = [child for child in known if child.parent == table]
            for since, end in missing_children(own, width, moments):
                await session.fetchval("partitions.add_child", table, since, end)
        for kind in _MADE:
            arguments = (runs, until) if kind == "runs" else ()
            await session.execute(f"bench_panels.make_{kind}", *arguments)
    await recount(database, until - 8 * _DAY)
    await database.execute("bench_panels.vacuum")
    return int(await database.fetchval("bench_panels.spans"))


async def _times(database: Database, name: str, calls: Sequence[tuple[object, ...]]) -> list[float]:
    """Milliseconds of each call, after one that does not count."""
    found = []
    for arguments in [calls[0], *calls]:
        before = time.perf_counter()
        await database.fetch(name, *arguments)
        found.append((time.perf_counter() - before) * 1000)
    return found[1:]


async def _detail(database: Database, part: str, ids: Sequence[UUID]) -> list[float]:
    return await _times(database, f"server_runs.{part}", [(one,) for one in ids])


async def _whole_scans(database: Database) -> list[str]:
    """The statements that ran and whose plan reads a large table from end to end."""
    report = await PerformanceOptimizer(database).optimize_queries(limit=200)
    return [
        f"{query.statement} ({', '.join(scan.table for scan in query.full_scans)})"
        for query in report.queries
        if query.full_scans and query.statement.startswith(("server_", "analytics_"))
    ]


async def _against_rows(database: Database, until: datetime, *, rounds: int, budget_s: float) -> Spread:
    arguments = (until - _WEEK, until, timedelta(hours=2))

    async def rows() -> None:
        await database.fetch("bench_panels.calls_from_rows", *arguments)

    async def rollup() -> None:
        await database.fetch("server_now.series", *arguments)

    measured = await interleave({"rows": rows, "rollup": rollup}, rounds=rounds, budget_s=budget_s)
    return measured.ratio("rows", "rollup")


def _p95(values: Sequence[float]) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))]


SCENARIO = Scenario(
    name="panels",
    claim="analytics in real time: charts over two million spans",
    compared="each chart's query, and a run's page; for one chart the rows it would read without rollups",
    limit="none; a page is asked for by a person",
    run=_run,
    on_request=True,
)
