"""Rows for the analytics to read, put into the tables as they are."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from omninode.analytics.period import Period
from omninode.core.ids import uuid7
from omninode.storage.config import ConnectionConfig
from omninode.storage.connection import connect
from omninode.storage.queries import Queries
from omninode.storage.rollup import Rollups
from omninode.storage.rollup_tables import rollup_names
from omninode.storage.session import Session

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
Insert = Callable[..., Awaitable[None]]


@pytest.fixture
def march() -> Period:
    """The ten days before `NOON`."""
    return Period(since=NOON - timedelta(days=10), until=NOON + timedelta(minutes=1))


@pytest.fixture
async def insert(database_url: str) -> AsyncIterator[Insert]:
    """`await insert(table, rows)`: rows lacking an id or a time get one; all tables are emptied first."""
    connection = await connect(ConnectionConfig.from_url(database_url))
    rollups = ", ".join(rollup_names())
    await connection.execute(
        f"TRUNCATE runs, tasks, llm_calls, error_events, agent_performance, performance_metrics, {rollups}"
    )

    async def put(table: str, rows: list[dict[str, Any]]) -> None:
        moment = "started_at" if table == "runs" else "ts"
        whole = [{"id": str(uuid7()), moment: NOON.isoformat()} | row for row in rows]
        columns = ", ".join(whole[0])
        await connection.execute(
            f"INSERT INTO {table} ({columns}) SELECT {columns} FROM jsonb_populate_recordset(NULL::{table}, $1)", whole
        )
        await Rollups().add(Session(connection, Queries()), table, whole)

    yield put
    await connection.close()
