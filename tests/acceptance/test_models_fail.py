"""Models that refuse, cannot be found, talk nonsense, hang or break off."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import pytest
from tests.acceptance.conftest import Simulator, configured

pytestmark = [pytest.mark.acceptance, pytest.mark.fault]

PROMPT = "Write a parser and test the parser"
PLANNERS = ("sim-steady", "sim-scholar")


def set_faults(simulator, model, **rates):
    """Change fault rates as a user would: over HTTP."""
    root = simulator.models.base_url.removesuffix("/v1")
    body = json.dumps({"model": model, "faults": rates}).encode()
    request = urllib.request.Request(f"{root}/simulate/faults", data=body, method="POST")
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200


def given_tasks(door, *tasks):
    path = door.directory / "tasks.json"
    path.write_text(json.dumps(list(tasks)))
    return str(path)


def task(name, description, *needs, agent="coder"):
    return {"id": name, "agent": agent, "description": description, "depends_on": list(needs)}


PLAN = (task("parser", "Write a parser"), task("test", "Test the parser", "parser", agent="tester"))


def test_a_wrong_key_is_a_matter_of_configuration(modelless):
    strict = Simulator(api_key="right")
    try:
        ended = configured(modelless, strict, key="MY_KEY").with_(MY_KEY="wrong")("run", PROMPT)
    finally:
        strict.close()

    assert ended.code == 3
    assert "401" in ended.complaint
    assert "wrong" not in ended.complaint.replace("wrong key", "")


def test_an_unknown_host_is_named(modelless):
    door = modelless.with_(OPENAI_API_KEY="x", OPENAI_BASE_URL="http://models.invalid/v1")

    ended = door("run", PROMPT)

    assert ended.code == 4
    assert "models.invalid" in ended.complaint


def test_with_ready_tasks_an_unreachable_model_is_still_code_4(modelless):
    door = modelless.with_(OPENAI_API_KEY="x", OPENAI_BASE_URL="http://127.0.0.1:9/v1")

    ended = door("run", PROMPT, "--tasks", given_tasks(door, *PLAN))

    assert ended.code == 4
    assert "127.0.0.1:9" in ended.complaint


async def test_prose_once_is_asked_again(library, simulator):
    for planner in PLANNERS:
        simulator.script(planner, "prose")

    async with library() as node:
        report = await node.run(PROMPT)

    assert report.status == "done"


def test_prose_for_ever_ends_the_run_and_says_what_to_do(omninode, simulator):
    for planner in PLANNERS:
        set_faults(simulator, planner, prose_rate=1.0)

    ended = omninode("run", PROMPT)

    assert ended.code == 1
    assert "planner" in ended.complaint
    assert "--tasks" in ended.complaint


def test_a_model_that_hangs_is_ended_by_the_deadline(omninode, simulator):
    for planner in PLANNERS:
        set_faults(simulator, planner, hang_rate=1.0)

    ended = omninode("run", PROMPT, "--deadline", "1")

    assert ended.code == 1
    assert "task_decomposition" in ended.complaint
    assert "more time" in ended.complaint


async def test_a_voter_that_hangs_is_stopped_and_is_no_failed_call(library, simulator):
    set_faults(simulator, "sim-careless", hang_rate=1.0)

    async with library() as node:
        report = await node.run(PROMPT)

    assert report.status == "done"
    assert report.quorum.counted < 5
    assert report.calls["stopped_early"] >= 1
    assert report.calls["failed_calls"] == 0
    assert report.calls["calls"] == report.calls["attempts"]


@pytest.mark.parametrize("fault", ["cut", "malformed"])
async def test_an_answer_that_breaks_off_is_asked_for_again(library, simulator, fault):
    for planner in PLANNERS:
        simulator.script(planner, fault)

    async with library() as node:
        report = await node.run(PROMPT)

    assert report.status == "done"
    assert report.calls["retries"] >= 1
    assert report.calls["attempts"] > report.calls["calls"]


def test_a_failed_task_takes_only_its_dependents_with_it(omninode, simulator):
    with Path(omninode.environment["OMNINODE_CONFIG"]).open("a") as file:
        file.write(
            '[[agents]]\nname = "fragile"\npurpose = "fails"\ninstructions = "x"\ndeployment = "sim-swift"\n'
            "[resilience]\nmax_retries = 0\n"
        )
    simulator.script("sim-swift", "ok", *["error"] * 20)  # its vote, then all it is asked
    plan = (*PLAN, task("broken", "Write a parser", agent="fragile"), task("after", "Test the parser", "broken"))

    ended = omninode("run", PROMPT, "--json", "--tasks", given_tasks(omninode, *plan))

    assert ended.code == 1
    assert {entry["id"]: entry["status"] for entry in ended.report["tasks"]} == {
        "parser": "ok",
        "test": "ok",
        "broken": "failed",
        "after": "skipped",
    }
    assert "broken" in ended.complaint
    assert "2 of 4" in ended.complaint


def test_a_plan_that_has_nothing_to_do_with_the_prompt_is_voted_down(omninode):
    plan = given_tasks(omninode, task("a", "Bake a cake with cherries"))

    ended = omninode("run", "Migrate the billing database to Postgres", "--json", "--tasks", plan)

    assert ended.code == 1
    assert ended.report["status"] == "rejected"
    assert "quorum" in ended.complaint
