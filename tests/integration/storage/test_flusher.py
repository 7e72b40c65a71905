"""From the spool into Postgres: exactly once, whatever breaks."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from omninode.core import current
from omninode.core.deadline import Deadline
from omninode.core.ids import uuid7
from omninode.storage.config import PoolConfig
from omninode.storage.connection import connect
from omninode.storage.database import Database
from omninode.storage.flusher import FlusherConfig, SpoolFlusher
from omninode.storage.orphans import EXPIRED
from omninode.storage.spool import Spool, SpoolConfig

pytestmark = pytest.mark.integration

QUICK = FlusherConfig(interval_s=0.005, longest_wait_s=0.05)
STAMP = "2026-01-01T00:00:00Z"


@pytest.fixture(autouse=True)
async def _empty(database: Database) -> AsyncIterator[None]:
    yield
    async with database.acquire() as session:
        await session.driver.execute("TRUNCATE performance_metrics, runs, dead_letters, ingest_offset, error_events")


def metric(value: float, **changes: object) -> dict[str, object]:
    return {"id": str(uuid7()), "ts": STAMP, "metric": "m", "value": value, "labels": {"a": 1}, **changes}


async def values(database: Database) -> list[float]:
    async with database.acquire() as session:
        return [row[0] for row in await session.driver.fetch("SELECT value FROM performance_metrics ORDER BY value")]


async def count(database: Database, table: str) -> int:
    async with database.acquire() as session:
        return int(await session.driver.fetchval(f"SELECT count(*) FROM {table}"))


async def test_rows_of_several_tables_arrive(database: Database, tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    async with SpoolFlusher(spool, database, config=QUICK) as flusher:
        for number in range(2500):
            spool.put("performance_metrics", metric(number))
        spool.put(
            "error_events",
            {
                "id": str(uuid7()),
                "ts": STAMP,
                "fingerprint": "f",
                "error_class": "E",
                "message": "m",
                "retryable": True,
            },
        )
        assert await flusher.flush(Deadline.after(10)) == 0
        assert await values(database) == list(range(2500))
        assert await count(database, "error_events") == 1
        assert flusher.statistics().written == 2501
    assert list(tmp_path.iterdir()) == []
    assert await count(database, "ingest_offset") == 0


async def test_a_flusher_outlives_the_deadline_of_the_scope_that_started_it(database: Database, tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    deadline = Deadline.after(0.0)
    with current.entered(deadline=deadline):
        flusher = SpoolFlusher(spool, database, config=QUICK)
        flusher.start()
    spool.put("performance_metrics", metric(1))
    async with asyncio.timeout(20):
        while not flusher.statistics().written:
            await asyncio.sleep(0.01)
    await flusher.close()
    assert flusher.statistics().failures == 0
    assert await values(database) == [1]


async def test_a_run_is_written_when_it_starts_and_again_when_it_ends(database: Database, tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    identifier = str(uuid7())
    start = {"id": identifier, "started_at": STAMP, "status": "running", "prompt": "p"}
    spool.put("runs", start)
    spool.put("runs", {**start, "status": "failed"})
    spool.put("runs", {**start, "status": "done", "duration_ms": 5, "report": {"a": [1]}}, key="id")
    async with SpoolFlusher(spool, database, config=QUICK) as flusher:
        assert await flusher.flush(Deadline.after(10)) == 0
    async with database.acquire() as session:
        row = await session.driver.fetchrow("SELECT status, duration_ms, report FROM runs")
    assert row is not None
    assert tuple(row) == ("done", 5, {"a": [1]})


@pytest.mark.fault
async def test_bad_rows_are_set_aside_and_the_others_written(database: Database, tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for number in range(20):
        spool.put("performance_metrics", metric(number, **({"ts": "yesterday"} if number == 7 else {})))
    spool.put("performance_metrics", {**metric(0), "colour": "red"})
    spool.put("no_such_table", {"id": 1})
    async with SpoolFlusher(spool, database, config=QUICK) as flusher:
        assert await flusher.flush(Deadline.after(10)) == 0
        statistics = flusher.statistics()
    assert (statistics.written, statistics.dead) == (19, 3)
    assert await values(database) == [number for number in range(20) if number != 7]
    async with database.acquire() as session:
        rows = await session.driver.fetch("SELECT table_name, error FROM dead_letters ORDER BY id")
    assert [row["table_name"] for row in rows] == ["performance_metrics", "performance_metrics", "no_such_table"]
    assert "yesterday" in rows[0]["error"]
    assert "colour" in rows[1]["error"]


@pytest.mark.fault
async def test_database_lost_while_flushing_and_back_loses_and_doubles_nothing(
    database: Database, tmp_path: Path
) -> None:
    spool = Spool(tmp_path, config=SpoolConfig(memory_rows=300))
    pool = PoolConfig(size=1, acquire_timeout_s=0.2)
    name = database.config.database
    async with Database.open(database.config, pool=pool) as used:
        config = FlusherConfig(interval_s=0.002, longest_wait_s=0.02, batch_rows=50)
        async with SpoolFlusher(spool, used, config=config) as flusher:
            for number in range(2000):
                spool.put("performance_metrics", metric(number))
                if number % 400 == 399:
                    await _cut_off(database, name)
                    await asyncio.sleep(0.02)
            assert await flusher.flush(Deadline.after(20)) == 0
            assert flusher.statistics().failures > 0
    assert await values(database) == list(range(2000))


async def _cut_off(database: Database, name: str) -> None:
    """End every session of the database, wherever it is, and let nobody in for a while."""
    connection = await connect(replace(database.config, database="postgres"))
    await connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    await connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
    await asyncio.sleep(0.05)
    await connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    await connection.close()


@pytest.mark.fault
async def test_commit_whose_answer_was_lost_is_not_repeated(database: Database, tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    flusher = SpoolFlusher(spool, database, config=QUICK)
    for number in range(10):
        spool.put("performance_metrics", metric(number))
    [track] = spool.tracks()
    release = track.release
    track.release = lambda number: None  # type: ignore[method-assign]  # the commit succeeds, and we do not hear of it
    await flusher._step(track)
    track.release = release  # type: ignore[method-assign]
    for number in range(10, 15):
        spool.put("performance_metrics", metric(number))
    assert await flusher.close(deadline=Deadline.after(10)) == 0
    assert await values(database) == list(range(15))


async def test_close_without_a_database_leaves_the_rows_for_the_next(database: Database, tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.put("performance_metrics", metric(1))
    closed = Database.open(database.config)
    assert await SpoolFlusher(spool, closed, config=QUICK).close(deadline=Deadline.after(0.05)) == 1
    successor = Spool(tmp_path)
    async with SpoolFlusher(successor, database, config=QUICK) as flusher:
        await _until(lambda: flusher.statistics().adopted_spools == 1)
        assert flusher.statistics().adopted_rows == 1
    assert await values(database) == [1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("is_away", [True, False])
async def test_rows_older_than_the_bound_are_given_up_only_while_the_database_is_away(
    database: Database, tmp_path: Path, is_away: bool
) -> None:
    dead = Spool(tmp_path)
    dead.put("performance_metrics", metric(1))
    dead.close()
    for path in tmp_path.rglob("*.seg"):
        os.utime(path, (1000, 1000))
    spool = Spool(tmp_path)
    spool.put("performance_metrics", metric(2))
    used = Database.open(database.config) if is_away else database
    flusher = SpoolFlusher(spool, used, config=QUICK)
    flusher.start()
    if is_away:
        await _until(lambda: flusher.is_failing)
    assert await flusher.close(deadline=Deadline.after(0)) == (1 if is_away else spool.waiting)
    assert spool.statistics().dropped == ({EXPIRED: 1} if is_away else {})


async def test_after_each_round_of_adoption_the_caller_is_told_when_the_rows_are_there(
    database: Database, tmp_path: Path
) -> None:
    seen: list[list[float]] = []

    async def told() -> None:
        seen.append(await values(database))

    def abandon(value: float) -> None:
        dead = Spool(tmp_path)
        dead.put("performance_metrics", metric(value))
        dead.close()

    abandon(1)
    config = FlusherConfig(interval_s=0.005, adopt_every_s=0.01)
    async with SpoolFlusher(Spool(tmp_path), database, config=config, after_adoption=told) as flusher:
        await _until(lambda: seen)
        abandon(2)
        await _until(lambda: flusher.statistics().adopted_spools == 2)
        await _until(lambda: seen[-1] == [1, 2])
    assert seen[0] == [1]


@pytest.mark.fault
async def test_adoption_that_failed_is_tried_again_though_no_row_of_our_own_comes(
    database: Database, tmp_path: Path
) -> None:
    dead = Spool(tmp_path)
    dead.put("performance_metrics", metric(1))
    dead.close()
    async with Database.open(database.config, pool=PoolConfig(size=1, acquire_timeout_s=0.05)) as used:
        async with used.acquire():
            flusher = SpoolFlusher(Spool(tmp_path), used, config=QUICK)
            flusher.start()
            await _until(lambda: flusher.is_failing)
        await _until(lambda: flusher.statistics().adopted_spools == 1)
        await _until(lambda: not flusher.is_failing)
        await flusher.close()
    assert await values(database) == [1]


async def test_adopting_once_writes_what_is_left_and_makes_no_spool(database: Database, tmp_path: Path) -> None:
    dead = Spool(tmp_path)
    for number in range(3):
        dead.put("performance_metrics", metric(number))
    dead.close()

    flusher = SpoolFlusher(Spool(tmp_path), database, config=replace(QUICK, batch_rows=2))

    assert await flusher.adopt(Deadline.after(10)) == 3
    assert await values(database) == [0, 1, 2]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fault
async def test_adopting_leaves_the_rows_when_the_database_does_not_take_them_in_time(
    database: Database, tmp_path: Path
) -> None:
    dead = Spool(tmp_path)
    dead.put("performance_metrics", metric(1))
    dead.close()
    flusher = SpoolFlusher(Spool(tmp_path), database, config=QUICK)

    async with database.transaction() as session:
        await session.driver.execute("LOCK TABLE performance_metrics")
        assert await flusher.adopt(Deadline.after(0.1)) == 0

    assert await values(database) == []
    assert await flusher.adopt(Deadline.after(10)) == 1
    assert await values(database) == [1]


_WRITER = """
import asyncio, sys
from pathlib import Path
from omninode.core.ids import uuid7
from omninode.storage.database import Database
from omninode.storage.flusher import FlusherConfig, SpoolFlusher
from omninode.storage.spool import Spool, SpoolConfig

async def main():
    spool = Spool(Path(sys.argv[1]), config=SpoolConfig(memory_rows=500, segment_bytes=100_000))
    async with Database.open(sys.argv[2], pool_size=1) as database:
        config = FlusherConfig(interval_s=0.001, batch_rows=100)
        async with SpoolFlusher(spool, database, config=config):
            number = 0
            while True:
                for _ in range(97):
                    row = {"id": str(uuid7()), "ts": "2026-01-01T00:00:00Z", "metric": "m", "value": number}
                    spool.put("performance_metrics", row)
                    number += 1
                print(number, flush=True)
                await asyncio.sleep(0)

asyncio.run(main())
"""


@pytest.mark.fault
@pytest.mark.parametrize("lines", [3, 30, 60])
async def test_rows_of_a_killed_writer_arrive_exactly_once(
    database: Database, database_url: str, tmp_path: Path, lines: int
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(tmp_path), database_url], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        acknowledged = 0
        for _ in range(lines):
            acknowledged = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        acknowledged = max([acknowledged, *(int(line) for line in writer.stdout if line.endswith("\n"))])
    async with SpoolFlusher(Spool(tmp_path), database, config=QUICK) as flusher:
        await _until(lambda: flusher.statistics().adopted_spools == 1)
    stored = await values(database)
    assert len(stored) >= acknowledged
    assert stored == list(range(len(stored)))
    assert list(tmp_path.iterdir()) == []


async def _until(condition: object) -> None:
    async with asyncio.timeout(20):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.01)
