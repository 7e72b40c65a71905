"""The database away, lost and back: the run goes on, and what it told arrives exactly once."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from tests.acceptance.conftest import configured, free_port, own_directory, rows, run_apart, stuck_in

from omninode.storage.config import ConnectionConfig
from omninode.storage.embedded import EmbeddedPostgres

pytestmark = [pytest.mark.acceptance, pytest.mark.fault]

PROMPT = "Write a parser and test the parser"


def stored(config: ConnectionConfig, run_id: str) -> dict[str, list[int]]:
    """How often each thing of a run is in its table: every list holds ones when nothing was written twice."""
    found = {}
    for table, name in (("runs", "id"), ("tasks", "task_id"), ("llm_calls", "id"), ("votes", "deployment")):
        column = "id" if table == "runs" else "run_id"
        text = f"SELECT count(*) AS n FROM {table} WHERE {column} = $1 GROUP BY {name}"
        found[table] = [row["n"] for row in rows(config, text, run_id)]
    return found


def assert_once(config: ConnectionConfig, report: dict) -> None:
    """Everything the report counts is in the tables, once."""
    calls = report["calls"]
    assert stored(config, report["run_id"]) == {
        "runs": [1],
        "tasks": [1] * len(report["tasks"]),
        "llm_calls": [1] * (calls["calls"] + calls["stopped_early"]),
        "votes": [1] * report["quorum"]["asked"],
    }


@pytest.fixture
def server():
    """A server that is away until the test starts it; its address is known before."""
    folder = own_directory()
    made = EmbeddedPostgres(folder / "pg")
    yield made
    run_apart(made.stop)
    shutil.rmtree(folder, ignore_errors=True)


def test_without_a_database_the_run_goes_on_and_its_rows_come_later(omninode, home, server):
    away = omninode.with_(POSTGRES_HOST=server.config.host, POSTGRES_USER=server.config.user)

    ended = away("run", PROMPT, "--json")

    assert ended.code == 0
    assert ended.report["status"] == "done"
    told = " ".join(ended.report["telemetry"])
    assert server.config.host in told
    assert "wait on disk" in told

    # Another database is not the one they wait for.
    assert omninode("run", PROMPT).code == 0
    assert stored(home.config, ended.report["run_id"])["runs"] == []

    run_apart(server.start)
    shown = away("runs", "show", ended.report["run_id"], "--json")
    assert shown.report["result"] == ended.report["result"]
    assert_once(server.config, ended.report)
    assert stored(home.config, ended.report["run_id"])["runs"] == []


def test_a_required_database_that_is_away_ends_it(omninode):
    away = omninode.with_(POSTGRES_HOST="127.0.0.1", POSTGRES_PORT=str(free_port()))

    commands = (("run", PROMPT, "--require-database"), ("runs", "list"), ("db", "status"))
    for running in [away.start(*command) for command in commands]:
        ended = running.ended()

        assert ended.code == 4
        assert "127.0.0.1" in ended.complaint


def test_a_database_or_a_user_that_is_not_there_is_a_wrong_setting(omninode, home):
    door = omninode.with_(POSTGRES_HOST=home.config.host, POSTGRES_USER=home.config.user)

    commands = (
        ("POSTGRES_DB", ("run", PROMPT)),
        ("POSTGRES_DB", ("runs", "list")),
        ("POSTGRES_USER", ("run", PROMPT)),
        ("POSTGRES_USER", ("db", "migrate")),
    )
    for variable, command in commands:
        ended = door.with_(**{variable: "nowhere"})(*command)

        assert ended.code == 3
        assert f"set {variable}" in ended.complaint


@pytest.fixture
def outside(server):
    """A Postgres that is not OmniNode's own: it stays dead when it is killed."""
    run_apart(server.start)
    return server


def kill(server: EmbeddedPostgres) -> None:
    """Kill the server and its children, as a machine that runs out of memory would."""
    os.kill(run_apart(server.status).pid, signal.SIGKILL)


def test_a_database_lost_in_the_middle_costs_no_run_and_no_row(bare, simulator, tarpit, outside):
    door = bare.with_(POSTGRES_HOST=outside.config.host, POSTGRES_USER=outside.config.user)
    stuck, arguments = stuck_in("parallel_execution", door, simulator, tarpit)
    running = stuck.start("run", *arguments, "--json")
    tarpit.wait_for(1)

    kill(outside)
    tarpit.release()
    ended = running.ended()

    assert ended.code == 0
    assert "wait on disk" in " ".join(ended.report["telemetry"])

    run_apart(outside.start)
    after = configured(door, simulator)("run", PROMPT, "--json")

    assert after.report["telemetry"] == []
    assert_once(outside.config, ended.report)
    assert_once(outside.config, after.report)


def test_an_interrupted_run_does_not_wait_for_a_lost_database(bare, simulator, tarpit, outside):
    door = bare.with_(POSTGRES_HOST=outside.config.host, POSTGRES_USER=outside.config.user)
    stuck, arguments = stuck_in("task_decomposition", door, simulator, tarpit)
    running = stuck.start("run", *arguments)
    tarpit.wait_for(1)

    kill(outside)
    running.signal(signal.SIGINT)

    ended = running.ended()
    assert ended.code == 130
    assert ended.complaint
    assert running.orphans() == []
    waiting = [path for path in (Path(bare.environment["OMNINODE_DATA_DIR"]) / "spool").rglob("*") if path.is_file()]
    assert any(b'"cancelled"' in path.read_bytes() for path in waiting)


def test_a_killed_embedded_server_comes_back_within_the_run(bare, simulator, tarpit):
    door, arguments = stuck_in("parallel_execution", bare, simulator, tarpit)
    data = Path(bare.environment["OMNINODE_DATA_DIR"]) / "postgres"
    server = EmbeddedPostgres(data)
    running = door.start("run", *arguments, "--json")
    tarpit.wait_for(1)

    kill(server)
    tarpit.release()
    ended = running.ended()
    assert ended.code == 0

    after = configured(bare, simulator)("run", PROMPT, "--json")
    assert after.code == 0
    assert after.report["telemetry"] == []
    run_apart(server.start)
    assert_once(server.config, ended.report)
    assert_once(server.config, after.report)
    run_apart(server.stop)
    assert not run_apart(server.status).is_running


def test_a_killed_omninode_leaves_its_rows_and_its_run_is_lost(omninode, simulator, tarpit, home):
    door, arguments = stuck_in("parallel_execution", omninode, simulator, tarpit)
    before = {row["id"] for row in rows(home.config, "SELECT id FROM runs")}
    running = door.start("run", *arguments)
    tarpit.wait_for(1)

    running.signal(signal.SIGKILL)
    assert running.ended().code == -signal.SIGKILL
    assert omninode("run", PROMPT).code == 0

    found = rows(home.config, "SELECT id, status, error FROM runs ORDER BY started_at")
    lost, done = [row for row in found if row["id"] not in before]
    assert (lost["status"], done["status"]) == ("lost", "done")
    assert "killed" in lost["error"]
    assert "lost" in omninode("runs", "list").out
    kept = stored(home.config, lost["id"])
    assert (kept["runs"], kept["votes"]) == ([1], [1] * 5)
    assert running.orphans() == []


def test_two_processes_share_one_embedded_database_from_the_first_start(bare, simulator):
    door = configured(bare, simulator)

    both = [door.start("run", PROMPT, "--json") for _ in range(2)]
    ended = [running.ended() for running in both]

    assert [entry.code for entry in ended] == [0, 0]
    server = EmbeddedPostgres(Path(bare.environment["OMNINODE_DATA_DIR"]) / "postgres")
    assert not run_apart(server.status).is_running
    url = door("db", "url").out.strip()
    try:
        # The command has ended; its address must not have.
        config = ConnectionConfig.from_url(url)
        for entry in ended:
            assert_once(config, entry.report)
        if psql := shutil.which("psql"):
            command = [psql, url, "-Atc", "SELECT count(*) FROM runs"]
            assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip() == "2"
    finally:
        stopped = door("db", "stop")
    assert "is stopped" in stopped.out
    assert not run_apart(server.status).is_running


def test_the_server_can_be_started_and_stopped_by_hand(bare):
    assert "is running" in bare("db", "start").out
    status = bare("db", "status")
    migrated = bare("db", "migrate")
    stopped = bare("db", "stop")
    again = bare("db", "stop")

    assert (status.code, migrated.code, stopped.code, again.code) == (0, 0, 0, 0)
    assert "schema     version" in status.out
    assert "sharing    0 open processes" in status.out
    assert "nothing to do" in migrated.out
    assert "is stopped" in stopped.out
