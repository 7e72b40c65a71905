"""Migrations: applied once, in order, by one process; drift and newer schemas stop the start."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from omninode.core.errors import MigrationError
from omninode.storage.database import Database
from omninode.storage.migrate import Migration, migrate, migration_status, packaged_migrations

pytestmark = pytest.mark.integration

ONE = Migration(version=1, name="one", text="CREATE TABLE one (id int);")
TWO = Migration(version=2, name="two", text="ALTER TABLE one ADD COLUMN v text; INSERT INTO one VALUES (1, 'x');")


async def test_missing_versions_are_applied_in_order_and_once(empty: Database) -> None:
    assert await migrate(empty, migrations=[ONE]) == (1,)
    assert await migrate(empty, migrations=[ONE, TWO]) == (2,)
    assert await migrate(empty, migrations=[ONE, TWO]) == ()


async def test_release_schema_applies_to_an_empty_database(empty: Database) -> None:
    everything = tuple(migration.version for migration in packaged_migrations())
    assert (await migration_status(empty)).pending == everything
    assert await migrate(empty) == everything
    assert (await migration_status(empty)).pending == ()


async def test_changed_file_is_refused(empty: Database) -> None:
    await migrate(empty, migrations=[ONE])
    with pytest.raises(MigrationError, match="0001_one was changed"):
        await migrate(empty, migrations=[replace(ONE, text=ONE.text + " "), TWO])
    assert await migrate(empty, migrations=[ONE, TWO]) == (2,)


async def test_newer_schema_is_refused(empty: Database) -> None:
    await migrate(empty, migrations=[ONE, TWO])
    with pytest.raises(MigrationError, match=r"version 2 \(two\), this release knows up to 1"):
        await migrate(empty, migrations=[ONE])


async def test_failing_file_is_rolled_back_and_named(empty: Database) -> None:
    bad = replace(TWO, text="CREATE TABLE half (id int); SELECT 1/0;")
    with pytest.raises(MigrationError, match="0002_two failed: division by zero"):
        await migrate(empty, migrations=[ONE, bad])
    async with empty.acquire() as session:
        assert await session.driver.fetchval("SELECT to_regclass('half')") is None
    assert await migrate(empty, migrations=[ONE, TWO]) == (2,)


async def test_processes_that_migrate_at_once_do_it_once(empty: Database) -> None:
    slow = replace(ONE, text="SELECT pg_sleep(0.1);" + ONE.text)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(migrate(empty, migrations=[slow, TWO])) for _ in range(4)]
    assert sorted(task.result() for task in tasks) == [(), (), (), (1, 2)]


async def test_file_marked_so_runs_outside_a_transaction(empty: Database) -> None:
    index = Migration(version=2, name="i", text="-- no-transaction\nCREATE INDEX CONCURRENTLY i ON one (id)")
    assert await migrate(empty, migrations=[ONE, index]) == (1, 2)
