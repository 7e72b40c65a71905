"""What a user does with the command line when all is well."""

from __future__ import annotations

import hashlib
import json

import pytest

pytestmark = pytest.mark.acceptance

PROMPT = "Explain the greeting module and test the greeting module"


@pytest.fixture
def workspace(tmp_path):
    place = tmp_path / "project"
    (place / "src").mkdir(parents=True)
    (place / "src" / "greeting.py").write_text('def greet(name):\n    """Say hello."""\n    return f"hello {name}"\n')
    (place / "README.md").write_text("# Project\n\nThe greeting module says hello.\n")
    (place / "logo.bin").write_bytes(bytes(range(256)))
    return place


def fingerprint(place):
    return {
        str(path.relative_to(place)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(place.rglob("*"))
        if path.is_file()
    }


def test_a_run_reports_all_it_did_and_leaves_the_workspace_alone(omninode, workspace, tmp_path):
    before = fingerprint(workspace)

    ended = omninode("run", PROMPT, "-w", str(workspace), "--json", "--output", str(tmp_path / "out"))

    assert ended.code == 0, ended.err
    report = ended.report
    assert report["status"] == "done"
    assert [line["name"] for line in report["phases"]] == [
        "input_validation",
        "context_gathering",
        "task_decomposition",
        "quorum_validation",
        "parallel_execution",
        "result_aggregation",
        "reporting",
    ]
    assert report["context"]["items"] > 0
    assert {source["status"] for source in report["context"]["sources"]} == {"ok"}
    assert report["quorum"]["decision"] == "PASS"
    assert report["calls"]["tokens_in"] > 0
    assert report["telemetry"] == []
    assert fingerprint(workspace) == before
    outputs = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"report.json", "result.md"} < outputs
    assert len(outputs) == 2 + len(report["tasks"])
    assert json.loads((tmp_path / "out" / "report.json").read_text())["run_id"] == report["run_id"]


def test_an_output_that_cannot_be_written_costs_no_result(omninode, workspace, tmp_path):
    place = tmp_path / "out"
    (place / "result.md" / "in the way").mkdir(parents=True)

    ended = omninode("run", PROMPT, "-w", str(workspace), "--output", str(place))

    assert ended.code == 3, ended.err
    assert ended.complaint.startswith("output not written: ")
    assert "degraded: output not written" in ended.out
    assert "# " in ended.out or "parser" in ended.out
    assert "written to" not in ended.out
    shown = omninode("runs", "show", ended.complaint.split("runs show ")[1].split()[0], "--json")
    assert json.loads(shown.out)["status"] == "done"


def test_what_ran_can_be_listed_and_shown(omninode):
    report = omninode("run", PROMPT, "--json").report
    run_id = report["run_id"]

    listed = omninode("runs", "list")
    assert run_id[-8:] in listed.out
    as_json = next(row for row in json.loads(omninode("runs", "list", "--json").out) if row["id"] == run_id)
    assert as_json["status"] == "done"
    shown = omninode("runs", "show", run_id[-8:])
    assert (shown.code, run_id in shown.out, PROMPT in shown.out) == (0, True, True)
    assert report["tasks"][0]["description"].split()[0] in shown.out.split("phases")[0]
    stored = json.loads(omninode("runs", "show", run_id, "--json").out)
    assert [stored[name] for name in ("run_id", "result", "tasks")] == [
        report[name] for name in ("run_id", "result", "tasks")
    ]
    assert all(task["output"] for task in stored["tasks"])


def test_ready_tasks_skip_their_planning(omninode, tmp_path):
    plan = tmp_path / "tasks.json"
    plan.write_text(
        json.dumps(
            {
                "tasks": [
                    {"id": "explain", "agent": "researcher", "description": "Explain the greeting module"},
                    {
                        "id": "test",
                        "agent": "tester",
                        "description": "Test the greeting module",
                        "depends_on": ["explain"],
                    },
                ]
            }
        )
    )

    report = omninode("run", PROMPT, "--tasks", str(plan), "--json").report

    assert [entry["id"] for entry in report["tasks"]] == ["explain", "test"]
    assert "task_decomposition" not in {line["name"] for line in report["phases"]}


def test_simulate_says_so_on_everything(modelless):
    ended = modelless("run", "Write a haiku", "--simulate")

    assert ended.code == 0
    assert "SIMULATED" in ended.err
    assert ended.out.count("SIMULATED") >= 2


def test_doctor_shows_settings_database_and_models(omninode):
    ended = omninode.with_(RETRY_MAX_RETRIES="2")("doctor")

    assert ended.code == 0
    assert "environment RETRY_MAX_RETRIES" in ended.out
    assert "database: embedded Postgres" in ended.out
    assert ended.out.count("model sim-") == 5


def test_doctor_without_a_model_says_what_to_set(modelless):
    ended = modelless("doctor")

    assert ended.code == 3
    assert "OPENAI_API_KEY" in ended.out
    assert ended.complaint


def test_help_is_there_for_every_command(bare):
    commands = ((), ("run",), ("serve",), ("runs",), ("db",), ("doctor",), ("simulate",))
    started = [bare.start(*command, "--help") for command in commands]

    for running in started:
        ended = running.ended()
        assert (ended.code, ended.err) == (0, "")
        assert "Usage:" in ended.out
