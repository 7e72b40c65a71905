"""Every statement of the dashboard can be answered from an index: no page gets slower with the age of the store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from omninode.storage.config import ConnectionConfig
from omninode.storage.connection import connect
from omninode.storage.queries import Queries

pytestmark = [pytest.mark.integration, pytest.mark.performance]

NOW = datetime(2026, 3, 10, tzinfo=UTC)
DAY = (NOW - timedelta(days=1), NOW)
BUCKET = timedelta(minutes=20)
RUN = (uuid4(),)
ARGUMENTS: dict[str, tuple[object, ...]] = {
    "server_agents.task_types": DAY,
    "server_cost.models": DAY,
    "server_errors.series": (*DAY, BUCKET, ["f"]),
    "server_errors.extent": ("f",),
    "server_live.tail": (NOW, 300),
    "server_now.runs": DAY,
    "server_now.calls": DAY,
    "server_now.series": (*DAY, BUCKET),
    "server_now.run_series": (*DAY, BUCKET),
    "server_now.gauges": (*DAY, ["cpu_percent"]),
    "server_now.gauge_series": (*DAY, BUCKET, ["cpu_percent"]),
    "server_now.alerts": DAY,
    "server_now.phases": DAY,
    "server_reliability.breakers": (),
    "server_reliability.retries": (),
    "server_reliability.deployments": DAY,
    "server_reliability.degraded": DAY,
    "server_reliability.batches": DAY,
    "server_reliability.dead_letters": DAY,
    "server_runs.page": (NOW, uuid4(), None, 51),
    "server_runs.count": (None,),
    "server_runs.statuses": (),
    "server_runs.one": RUN,
    "server_runs.metrics": RUN,
    "server_runs.tasks": RUN,
    "server_runs.calls": RUN,
    "server_runs.votes": RUN,
    "server_runs.errors": RUN,
}
# One row per breaker or retry policy: small for ever, so read whole.
SMALL = {"server_reliability.breakers", "server_reliability.retries"}


def test_every_statement_is_looked_at() -> None:
    queries = Queries()
    files = {name.partition(".")[0] for name in ARGUMENTS}
    assert files == {file for file in queries.files() if file.startswith("server_")}
    for file in files:
        queries.text(next(name for name in ARGUMENTS if name.startswith(f"{file}.")))
        wanted = {name.partition(".")[2] for name in ARGUMENTS if name.startswith(f"{file}.")}
        assert wanted == set(queries._files[file]), file


async def test_no_page_reads_a_whole_table(database_url: str) -> None:
    connection = await connect(ConnectionConfig.from_url(database_url))
    queries, whole = Queries(), {}
    # An empty table is always read whole, unless that is forbidden where an index could do.
    await connection.execute("SET enable_seqscan = off")
    try:
        for name, arguments in ARGUMENTS.items():
            rows = await connection.fetch(f"EXPLAIN {queries.text(name)}", *arguments)
            plan = "\n".join(row[0] for row in rows)
            if name not in SMALL and ("Seq Scan" in plan or "Index" not in plan):
                whole[name] = plan
    finally:
        await connection.close(timeout=5)
    assert whole == {}
