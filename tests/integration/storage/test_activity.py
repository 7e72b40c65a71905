"""`omninode db activity`: who holds a lock, and who waits for it."""

from __future__ import annotations

import asyncio

import pytest

from omninode.storage.database import Database

pytestmark = pytest.mark.integration


async def test_an_open_transaction_and_the_one_that_waits_for_it_are_shown(database: Database) -> None:
    async with database.acquire() as watching, database.transaction() as holding:
        mine = await holding.driver.fetchval("SELECT pg_backend_pid()")
        await holding.driver.execute("LOCK TABLE runs IN ACCESS EXCLUSIVE MODE")

        async def read() -> None:
            async with database.acquire() as session:
                await session.driver.fetch("SELECT id FROM runs")

        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            reading = group.create_task(read())
            waiting = []
            while not waiting:
                rows = await watching.fetch("schema.activity")
                waiting = [row for row in rows if row["waits_for"]]
            assert [row["waits_for"] for row in waiting] == [[mine]]
            assert waiting[0]["statement"] == "SELECT id FROM runs"
            assert {row["state"] for row in rows if row["pid"] == mine} == {"idle in transaction"}
            reading.cancel()
