"""Decomposition: strict reading, feedback on what was wrong, an end to patience."""

from __future__ import annotations

import orjson
import pytest

from omninode.core.errors import MalformedAnswerError
from omninode.providers.http import HttpClient
from omninode.routing.cache.exact import ExactCache
from omninode.routing.deployment import DeploymentConfig
from omninode.routing.router import Router, RouterParts
from omninode.testing.provider import ScriptedProvider
from omninode.workflow.agent import AgentCatalog
from omninode.workflow.decompose import Decomposer, read_breakdown

pytestmark = pytest.mark.unit

GOOD = orjson.dumps(
    {
        "tasks": [
            {"id": "a", "agent": "researcher", "description": "look", "input": None, "depends_on": []},
            {"id": "b", "agent": "coder", "description": "write", "depends_on": ["a"], "task_type": "implementation"},
        ]
    }
).decode()


def planner(provider: ScriptedProvider) -> Decomposer:
    deployment = DeploymentConfig(name="p", protocol="openai", base_url="http://127.0.0.1:9/v1", model="m")
    router = Router([deployment], http=HttpClient(), parts=RouterParts(providers={"p": provider}))
    return Decomposer(router, AgentCatalog.default())


def caching(provider: ScriptedProvider) -> Decomposer:
    deployment = DeploymentConfig(name="p", protocol="openai", base_url="http://127.0.0.1:9/v1", model="m")
    parts = RouterParts(providers={"p": provider})
    router = Router([deployment], http=HttpClient(), cache=ExactCache(), parts=parts)
    return Decomposer(router, AgentCatalog.default())


def feedback_of(provider: ScriptedProvider, call: int) -> list[str]:
    _, request = provider.requests[call]
    return orjson.loads(request.messages[-1].content.removeprefix("INPUT:\n"))["deficiencies"]


async def test_a_good_answer_becomes_tasks() -> None:
    tasks = await planner(ScriptedProvider([GOOD])).decompose("do it", context=())
    assert [(task.id, task.agent, task.depends_on, task.task_type) for task in tasks] == [
        ("a", "researcher", (), "general"),
        ("b", "coder", ("a",), "implementation"),
    ]


async def test_a_fenced_answer_is_read_too() -> None:
    tasks, problems = read_breakdown(f"```json\n{GOOD}\n```", AgentCatalog.default())
    assert (len(tasks), problems) == (2, [])


async def test_what_was_wrong_goes_back_to_the_planner() -> None:
    bad = GOOD.replace('"coder"', '"codr"')
    provider = ScriptedProvider(["I would rather talk about it.", bad, GOOD])
    tasks = await planner(provider).decompose("do it", context=(), deficiencies=["it lacked tests"])
    assert len(tasks) == 2
    assert feedback_of(provider, 0) == ["it lacked tests"]
    assert "not one JSON object" in feedback_of(provider, 1)[1]
    second = feedback_of(provider, 2)
    assert second[0] == "it lacked tests"
    assert "codr" in second[1]
    assert "coder" in second[1]


async def test_a_plan_for_the_same_deficiencies_is_made_anew() -> None:
    provider = ScriptedProvider([GOOD])
    decomposer = caching(provider)
    for _ in range(2):
        await decomposer.decompose("do it", context=(), deficiencies=["it lacked tests"])
    assert len(provider.requests) == 2


async def test_an_answer_that_could_not_be_used_is_not_served_again() -> None:
    provider = ScriptedProvider(["prose", GOOD])
    decomposer = caching(provider)
    await decomposer.decompose("do it", context=())
    await decomposer.decompose("do it", context=())
    assert [feedback_of(provider, call) for call in (0, 2)] == [[], []]
    await decomposer.decompose("do it", context=())
    assert len(provider.requests) == 3


async def test_after_three_bad_answers_the_run_fails_with_what_to_do() -> None:
    provider = ScriptedProvider(["prose"])
    with pytest.raises(MalformedAnswerError, match=r"after 3 tries.*--tasks"):
        await planner(provider).decompose("do it", context=())
    assert len(provider.requests) == 3


@pytest.mark.parametrize("text", ["{}", '{"tasks": []}', '{"tasks": [{"id": "a"}]}', "[1]", "null", '"x"'])
def test_an_answer_without_usable_tasks_is_a_problem(text: str) -> None:
    tasks, problems = read_breakdown(text, AgentCatalog.default())
    assert tasks == ()
    assert problems
