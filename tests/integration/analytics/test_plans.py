"""Every question of the analytics and the monitor can be answered from indexes."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from omninode.storage.config import ConnectionConfig
from omninode.storage.connection import connect
from omninode.storage.queries import Queries

pytestmark = [pytest.mark.integration, pytest.mark.performance]

NOW = datetime(2026, 3, 10, tzinfo=UTC)
PERIOD = (NOW - timedelta(days=1), NOW)
HOUR = timedelta(hours=1)
ARGUMENTS: dict[str, tuple[object, ...]] = {
    "analytics_agents.records_of_type": ("code", *PERIOD),
    "analytics_agents.records_in_context": ("code", *PERIOD, {}),
    "analytics_agents.records_of_all_types": PERIOD,
    "analytics_agents.standings": PERIOD,
    "analytics_agents.types_of_agent": ("a", *PERIOD),
    "analytics_agents.errors_of_agent": ("a", *PERIOD),
    "analytics_agents.outcomes": ("a", *PERIOD, uuid4(), 10),
    "analytics_agents.per_bucket": (HOUR, *PERIOD, None, None),
    "analytics_trends.calls": (HOUR, *PERIOD, None),
    "analytics_trends.runs": (HOUR, *PERIOD, None),
    "analytics_trends.phases": (HOUR, *PERIOD, None),
    "analytics_trends.metric": (HOUR, *PERIOD, "m"),
    "analytics_trends.errors": (HOUR, *PERIOD, None),
    "analytics_errors.groups": (*PERIOD, None, None, 10),
    "analytics_errors.samples": ("f", NOW, uuid4(), 10),
    "analytics_errors.shares": (*PERIOD, "f"),
    "analytics_costs.lines": (*PERIOD, "model", 10),
    "analytics_costs.lines_of_callers": (*PERIOD, "agent", 10),
    "analytics_costs.successes": PERIOD,
    "analytics_costs.agent_successes": PERIOD,
    "monitoring_runs.measured": (uuid4(),),
    "monitoring_runs.totals": (uuid4(),),
}


def statements() -> Iterator[str]:
    queries = Queries()
    for file in queries.files():
        if file.startswith(("analytics_", "monitoring_")):
            queries.text(f"{file}.{_any_name(queries, file)}")
            yield from (f"{file}.{name}" for name in queries._files[file])


def _any_name(queries: Queries, file: str) -> str:
    return next(name.partition(".")[2] for name in ARGUMENTS if name.startswith(f"{file}."))


def test_every_statement_that_reads_is_looked_at():
    assert set(statements()) - {"analytics_agents.record"} == set(ARGUMENTS)


async def test_no_question_reads_a_whole_table(database_url: str):
    connection = await connect(ConnectionConfig.from_url(database_url))
    queries = Queries()
    # An empty table is always read whole, unless that is forbidden where an index could do.
    await connection.execute("SET enable_seqscan = off")
    whole = {}
    for name, arguments in ARGUMENTS.items():
        plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {queries.text(name)}", *arguments))
        if "Seq Scan" in plan or "Index" not in plan:
            whole[name] = plan
    await connection.close()
    assert whole == {}
