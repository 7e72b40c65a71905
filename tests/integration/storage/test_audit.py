"""The audit log on a real server: one chain for any number of writers, and every way to change it found."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import UUID, uuid4

import orjson
import pytest

from omninode.core.deadline import Deadline
from omninode.core.errors import DatabaseError
from omninode.storage.audit import Checkpoint, Verdict, head_of, row_hash, unguarded, verify
from omninode.storage.database import Database
from omninode.storage.flusher import SpoolFlusher
from omninode.storage.spool import Spool

pytestmark = pytest.mark.integration

APPEND = "INSERT INTO audit_log (id, entry) VALUES ($1, $2)"


async def sql(database: Database, text: str, *args: object) -> None:
    async with database.acquire() as session:
        await session.driver.execute(text, *args)


async def unlocked(database: Database, *statements: str) -> None:
    """Do what only the owner of the table can: the triggers are off meanwhile."""
    async with database.transaction() as session:
        await session.driver.execute("ALTER TABLE audit_log DISABLE TRIGGER ALL")
        for statement in statements:
            await session.driver.execute(statement)
        for name in ("chained", "kept", "not_emptied"):
            await session.driver.execute(f"ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_{name}")


async def append(database: Database, *entries: str) -> None:
    for entry in entries:
        await sql(database, APPEND, uuid4(), orjson.dumps({"action": entry}).decode())


@pytest.fixture
async def log(database: Database) -> Database:
    """A log of six rows."""
    await unlocked(database, "DELETE FROM audit_log")
    await append(database, *(f"action {number}" for number in range(1, 7)))
    return database


async def checkpoint(database: Database) -> Checkpoint:
    seq, last = await head_of(database)
    return Checkpoint(seq=seq, hash=last, at="then")


async def first_bad(database: Database, *points: Checkpoint) -> int | None:
    verdict: Verdict = await verify(database, points)
    return verdict.fault.seq if verdict.fault else None


async def test_an_untouched_log_is_whole_and_goes_on_after_a_checkpoint(log: Database) -> None:
    point = await checkpoint(log)
    await append(log, "one more")
    assert await verify(log, [point]) == Verdict(rows=7, fault=None)


@pytest.mark.parametrize(
    "statement", ["UPDATE audit_log SET entry = '{}'", "DELETE FROM audit_log", "TRUNCATE audit_log"]
)
async def test_nothing_is_changed_or_removed_even_by_a_superuser_who_plays_a_replica(
    log: Database, statement: str
) -> None:
    for role in ("origin", "replica"):
        with pytest.raises(DatabaseError, match="only ever added to"):
            await sql(log, f"SET LOCAL session_replication_role = {role}; {statement}")
    assert await first_bad(log) is None


async def test_whoever_writes_cannot_choose_number_or_hash(log: Database) -> None:
    await sql(log, "INSERT INTO audit_log VALUES (3, $1, '{}', repeat('f', 64), repeat('f', 64))", uuid4())
    assert await verify(log) == Verdict(rows=7, fault=None)


@pytest.mark.parametrize(
    ("name", "statements", "seq"),
    [
        ("edit", ["UPDATE audit_log SET entry = replace(entry, '3', '9') WHERE seq = 3"], 3),
        ("edit of the id", [f"UPDATE audit_log SET id = '{UUID(int=1)}' WHERE seq = 2"], 2),
        ("delete", ["DELETE FROM audit_log WHERE seq = 4"], 4),
        ("delete of the first", ["DELETE FROM audit_log WHERE seq = 1"], 1),
        (
            "delete, and the rest moved up",
            ["DELETE FROM audit_log WHERE seq = 4", "UPDATE audit_log SET seq = seq - 1 WHERE seq > 4"],
            4,
        ),
        (
            "reorder",
            [
                "UPDATE audit_log SET seq = 100 WHERE seq = 2",
                "UPDATE audit_log SET seq = 2 WHERE seq = 5",
                "UPDATE audit_log SET seq = 5 WHERE seq = 100",
            ],
            2,
        ),
        (
            "entries swapped",
            [
                "UPDATE audit_log SET entry = (SELECT entry FROM audit_log WHERE seq = 5) WHERE seq = 4",
                'UPDATE audit_log SET entry = \'{"action":"action 4"}\' WHERE seq = 5',
            ],
            4,
        ),
        (
            "insert with a forged hash",
            [
                "ALTER TABLE audit_log DROP CONSTRAINT audit_log_pkey",
                "INSERT INTO audit_log SELECT 3, gen_random_uuid(), '', '', '' FROM audit_log WHERE seq = 3",
            ],
            3,
        ),
        ("insert before the first", ["INSERT INTO audit_log VALUES (0, gen_random_uuid(), '{}', '', '')"], 0),
        ("insert at the end", ["INSERT INTO audit_log VALUES (7, gen_random_uuid(), '{}', '', '')"], 7),
        ("insert after a gap", ["INSERT INTO audit_log VALUES (9, gen_random_uuid(), '{}', '', '')"], 7),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_each_way_to_change_it_is_found_at_its_first_row(
    log: Database, name: str, statements: list[str], seq: int
) -> None:
    await unlocked(log, *statements)
    assert await first_bad(log) == seq, name
    await unlocked(
        log,
        "DELETE FROM audit_log",
        "ALTER TABLE audit_log DROP CONSTRAINT IF EXISTS audit_log_pkey",
        "ALTER TABLE audit_log ADD PRIMARY KEY (seq)",
    )


async def test_a_cut_end_needs_the_checkpoint(log: Database) -> None:
    point = await checkpoint(log)
    await unlocked(log, "DELETE FROM audit_log WHERE seq > 4")
    assert await first_bad(log) is None
    assert await first_bad(log, point) == 5
    # Nor does it help to go on until there are as many rows again.
    await append(log, "later", "later still", "and on")
    assert await first_bad(log) is None
    assert await first_bad(log, point) == 1


async def test_a_log_made_anew_needs_the_checkpoint_and_the_one_before_narrows_it_down(log: Database) -> None:
    point = await checkpoint(log)
    async with log.acquire() as session:
        rows = await session.driver.fetch("SELECT * FROM audit_log ORDER BY seq")
    before, statements = "0" * 64, []
    early = Checkpoint(seq=3, hash=rows[2]["hash"], at="before")
    for row in rows:
        entry = row["entry"] if row["seq"] != 5 else '{"action":"nothing"}'
        own = row_hash(before, seq=row["seq"], id=row["id"], entry=entry)
        statements.append(
            f"UPDATE audit_log SET entry = '{entry}', prev_hash = '{before}', hash = '{own}' WHERE seq = {row['seq']}"
        )
        before = own
    await unlocked(log, *statements)
    assert await first_bad(log) is None
    assert await first_bad(log, point) == 1
    assert await first_bad(log, early, point) == 4


async def test_triggers_that_are_off_are_named(log: Database) -> None:
    assert await unguarded(log) == ()
    await sql(log, "ALTER TABLE audit_log DISABLE TRIGGER audit_log_kept")
    assert await unguarded(log) == ("audit_log_kept",)
    await unlocked(log)


async def test_many_writers_make_one_chain(log: Database, tmp_path: Path) -> None:
    async def write_spool(number: int) -> None:
        async with Database.open(log.config, pool_size=3) as own:
            spool = Spool(tmp_path / str(number))
            async with SpoolFlusher(spool, own) as flusher:
                for step in range(50):
                    await spool.put_ledger(
                        "audit_log", {"id": str(uuid4()), "entry": f'{{"n": {number}, "i": {step}}}'}
                    )
                assert await flusher.flush(Deadline.after(30)) == 0

    async def write_directly(number: int) -> None:
        async with Database.open(log.config, pool_size=3) as own:
            for step in range(30):
                if step % 3 == 0:
                    # What is rolled back leaves no gap.
                    async with own.acquire() as session:
                        rolled_back = session.driver.transaction()
                        await rolled_back.start()
                        await session.driver.execute(APPEND, uuid4(), "{}")
                        await rolled_back.rollback()
                await append(own, f"direct {number} {step}")

    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(write_spool(number))
            group.create_task(write_directly(number))
    assert await verify(log) == Verdict(rows=6 + 3 * 50 + 3 * 30, fault=None)
    async with log.acquire() as session:
        rows = await session.driver.fetch("SELECT entry FROM audit_log WHERE entry LIKE '{\"n\": 1,%' ORDER BY seq")
    assert [orjson.loads(row["entry"])["i"] for row in rows] == list(range(50)), "one writer's rows keep their order"
