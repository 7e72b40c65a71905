"""kill -9 of who writes and of what is written to: the same trials as `omninode bench crash`, fewer of them."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from omninode.bench.crash.rows import Tally, row, tally
from omninode.bench.crash.trials import Outage, Trial, interrupt_server, kill_writer, measure_memory
from omninode.core.ids import uuid7
from omninode.storage.database import Database
from omninode.storage.embedded import EmbeddedPostgres
from omninode.storage.migrate import migrate
from omninode.storage.optimizer import PerformanceOptimizer

pytestmark = [pytest.mark.integration, pytest.mark.fault, pytest.mark.timeout(180)]


def assert_whole(trial: Trial) -> None:
    """Every acknowledged row is there, no row is there twice."""
    for found in trial.tallies.values():
        assert (found.lost, found.doubled) == (0, 0)
        assert found.acknowledged > 0


@pytest.mark.parametrize("seed", range(8))
async def test_writer_killed_at_a_random_point_loses_and_doubles_nothing(
    database: Database, tmp_path: Path, seed: int
) -> None:
    trial = await kill_writer(database, tmp_path, after_s=random.Random(seed).uniform(0, 0.5))
    assert_whole(trial)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
async def server() -> AsyncIterator[EmbeddedPostgres]:
    """A server of the test's own, to be killed."""
    folder = Path(tempfile.mkdtemp(prefix="omn-", dir="/tmp"))
    folder.chmod(0o755)
    server = EmbeddedPostgres(folder / "db")
    await server.start()
    try:
        async with Database.open(server.config, pool_size=1) as database:
            await migrate(database)
        yield server
    finally:
        await server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("is_killed", [True, False], ids=["killed", "stopped"])
async def test_server_that_goes_while_rows_come_costs_none(
    server: EmbeddedPostgres, tmp_path: Path, is_killed: bool
) -> None:
    outage = Outage(rows_per_s=5000, before_s=0.5, down_s=1.5, is_killed=is_killed)
    trial = await interrupt_server(server, tmp_path, outage=outage)
    assert_whole(trial)
    assert trial.failures > 0
    assert trial.tallies["telemetry"].acknowledged > 5000


async def test_memory_is_bounded_while_the_database_is_away(tmp_path: Path) -> None:
    told = await measure_memory(tmp_path, rows_per_s=15_000, seconds=4.0)
    assert told["accepted"] == told["waiting"] > 40_000
    assert told["memory_rows"] == 20_000
    assert told["failures"] > 0
    assert told["grown_bytes"] < 150 * 1024 * 1024


async def test_the_count_sees_what_is_lost_and_what_is_there_twice(database: Database) -> None:
    trial = uuid7()
    rows = [row(trial, "ledger", number) for number in (0, 1, 1, 2)]
    await PerformanceOptimizer(database).batch_write_with_pooling(rows, "INSERT", "performance_metrics")
    found = await tally(database, trial, "ledger", acknowledged=[0, 1, 2, 3, 4])
    assert found == Tally(acknowledged=5, stored=4, lost=2, doubled=1)
