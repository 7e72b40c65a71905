"""Ctrl-C and its like: every call cancelled, the run recorded, nothing left running."""

from __future__ import annotations

import signal
import urllib.request
from pathlib import Path

import pytest
from tests.acceptance.conftest import rows, run_apart, stuck_in

from omninode.storage.embedded import EmbeddedPostgres

pytestmark = [pytest.mark.acceptance, pytest.mark.fault]


@pytest.mark.parametrize(
    ("phase", "number"),
    [
        ("context_gathering", signal.SIGINT),
        ("task_decomposition", signal.SIGINT),
        ("quorum_validation", signal.SIGINT),
        ("parallel_execution", signal.SIGINT),
        ("parallel_execution", signal.SIGTERM),
    ],
    ids=lambda value: value.name if isinstance(value, signal.Signals) else value,
)
def test_a_signal_ends_the_run_in_any_phase(phase, number, omninode, simulator, tarpit, home):
    door, arguments = stuck_in(phase, omninode, simulator, tarpit)
    before = {row["id"] for row in rows(home.config, "SELECT id FROM runs")}
    running = door.start("run", *arguments)
    tarpit.wait_for(1)

    running.signal(number)
    ended = running.ended()

    assert ended.code == 130
    assert "interrupted" in ended.complaint
    tarpit.wait_for(tarpit.arrived, what="left")
    assert running.orphans() == []
    [run] = [row for row in rows(home.config, "SELECT id, status FROM runs") if row["id"] not in before]
    assert run["status"] == "cancelled"


def test_the_last_to_leave_stops_the_embedded_server(bare, simulator, tarpit):
    door, arguments = stuck_in("task_decomposition", bare, simulator, tarpit)
    running = door.start("run", *arguments)
    tarpit.wait_for(1)
    server = EmbeddedPostgres(Path(bare.environment["OMNINODE_DATA_DIR"]) / "postgres")
    assert run_apart(server.status).is_running

    running.signal(signal.SIGINT)

    assert running.ended().code == 130
    assert running.orphans() == []
    assert not run_apart(server.status).is_running


@pytest.mark.parametrize("command", ["serve", "simulate"])
def test_servers_end_in_order(command, modelless):
    running = modelless.start(command, "--port", "0")
    url = running.wait_for_line("http://", on="out").split("http://")[1].split()[0].removesuffix("/v1")
    with urllib.request.urlopen(f"http://{url}/health", timeout=10) as answer:
        assert answer.status == 200

    running.signal(signal.SIGINT)
    ended = running.ended()

    assert (ended.code, ended.err) == (0, "")
    assert running.orphans() == []
