"""Running task graphs: order, parallelism, failures, deadlines, cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omninode.core.deadline import Deadline
from omninode.core.errors import DeadlineExceededError
from omninode.testing.clock import FakeClock
from omninode.workflow.dispatch import dispatch
from omninode.workflow.task import Task, TaskResult

pytestmark = pytest.mark.unit


def task(name: str, *needs: str) -> Task:
    return Task(id=name, agent="coder", description=name, depends_on=needs)


def done(one: Task) -> TaskResult:
    return TaskResult(task=one, status="ok", output=one.id)


class Recorder:
    """Executes tasks, failing those it is told to, and notes what ran when."""

    def __init__(self, *, failing: frozenset[str] = frozenset()) -> None:
        self.failing = failing
        self.order: list[str] = []
        self.running: set[str] = set()
        self.together: set[frozenset[str]] = set()

    async def __call__(self, one: Task, inputs: Mapping[str, TaskResult]) -> TaskResult:
        assert set(inputs) == set(one.depends_on)
        assert all(result.is_ok for result in inputs.values())
        self.order.append(one.id)
        self.running.add(one.id)
        self.together.add(frozenset(self.running))
        await asyncio.sleep(0)
        self.running.discard(one.id)
        return TaskResult(task=one, status="failed", error="planted") if one.id in self.failing else done(one)


@st.composite
def graphs(draw: st.DrawFn) -> list[Task]:
    size = draw(st.integers(1, 12))
    return [
        task(str(index), *(str(other) for other in draw(st.sets(st.integers(0, index - 1))) if index))
        if index
        else task("0")
        for index in range(size)
    ]


@settings(max_examples=60)
@given(graphs(), st.integers(1, 5), st.sets(st.integers(0, 11)))
def test_every_task_runs_after_its_needs_or_is_skipped_with_them(
    tasks: list[Task], limit: int, failing: set[int]
) -> None:
    recorder = Recorder(failing=frozenset(str(index) for index in failing))
    results = asyncio.run(dispatch(tasks, recorder, max_concurrency=limit))
    status = {result.task.id: result.status for result in results}
    assert [result.task.id for result in results] == [one.id for one in tasks]
    for one in tasks:
        lost = any(status[need] != "ok" for need in one.depends_on)
        expected = "skipped" if lost else ("failed" if one.id in recorder.failing else "ok")
        assert status[one.id] == expected
    assert max(len(group) for group in recorder.together) <= limit


async def test_independent_tasks_overlap() -> None:
    recorder = Recorder()
    await dispatch([task("a"), task("b"), task("c", "a", "b")], recorder, max_concurrency=8)
    assert frozenset({"a", "b"}) in recorder.together
    assert recorder.order[-1] == "c"


async def test_a_follower_starts_while_an_unrelated_task_still_runs() -> None:
    release = asyncio.Event()

    async def execute(one: Task, _: Mapping[str, TaskResult]) -> TaskResult:
        if one.id == "slow":
            await release.wait()
        if one.id == "second":
            release.set()
        return done(one)

    results = await dispatch([task("slow"), task("first"), task("second", "first")], execute, max_concurrency=2)
    assert all(result.is_ok for result in results)


async def test_at_the_deadline_running_tasks_fail_and_waiting_ones_are_skipped() -> None:
    async def execute(one: Task, _: Mapping[str, TaskResult]) -> TaskResult:
        if one.id == "hangs":
            await asyncio.Event().wait()
        return done(one)

    tasks = [task("quick"), task("hangs"), task("after", "hangs")]
    results = await dispatch(tasks, execute, max_concurrency=4, deadline=Deadline.after(0.05))
    assert [result.status for result in results] == ["ok", "failed", "skipped"]
    assert "deadline" in (results[1].error or "")
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_cancelling_cancels_every_running_task() -> None:
    cancelled = []

    async def execute(one: Task, _: Mapping[str, TaskResult]) -> TaskResult:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(one.id)
            raise
        return done(one)

    work = asyncio.ensure_future(dispatch([task("a"), task("b")], execute, max_concurrency=4))
    await asyncio.sleep(0.01)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert sorted(cancelled) == ["a", "b"]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_every_ending_is_told_once_and_as_the_result_says() -> None:
    told: list[TaskResult] = []

    async def execute(one: Task, _: Mapping[str, TaskResult]) -> TaskResult:
        if one.id == "hangs":
            await asyncio.Event().wait()
        return TaskResult(task=one, status="failed", error="planted") if one.id == "bad" else done(one)

    tasks = [task("quick"), task("bad"), task("lost", "bad"), task("hangs"), task("after", "hangs")]
    results = await dispatch(tasks, execute, max_concurrency=8, deadline=Deadline.after(0.05), tell=told.append)
    assert {(one.task.id, one.status, one.error) for one in told} == {
        (one.task.id, one.status, one.error) for one in results
    }
    assert len(told) == len(tasks)
    cut_off = results[3]
    assert isinstance(cut_off.failure, DeadlineExceededError)
    assert cut_off.duration_ms >= 50


async def test_a_cancelled_dispatch_tells_what_it_cancelled() -> None:
    told: list[TaskResult] = []

    async def execute(_: Task, __: Mapping[str, TaskResult]) -> TaskResult:
        await asyncio.Event().wait()
        raise AssertionError

    work = asyncio.ensure_future(
        dispatch([task("a"), task("b"), task("c", "a")], execute, max_concurrency=4, tell=told.append)
    )
    await asyncio.sleep(0.01)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert sorted((one.task.id, one.status) for one in told) == [("a", "cancelled"), ("b", "cancelled")]


async def test_a_defect_in_a_task_is_told_as_its_failure_and_raised() -> None:
    told: list[TaskResult] = []

    async def execute(one: Task, _: Mapping[str, TaskResult]) -> TaskResult:
        if one.id == "broken":
            raise KeyError("x")
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(KeyError):
        await dispatch([task("broken"), task("other")], execute, max_concurrency=4, tell=told.append)
    assert [(one.task.id, one.status) for one in told] == [("broken", "failed"), ("other", "cancelled")]


async def test_the_wait_of_a_task_is_counted_from_when_it_was_ready() -> None:
    clock = FakeClock()

    async def execute(one: Task, _: Mapping[str, TaskResult]) -> TaskResult:
        clock.advance(2.0)
        return done(one)

    tasks = [task("first"), task("second"), task("third", "first")]
    results = await dispatch(tasks, execute, max_concurrency=1, clock=clock)
    # The third is ready when the first has ended, and then waits for the second.
    assert [result.wait_ms for result in results] == [0.0, 2000.0, 2000.0]


async def test_a_chain_of_ten_thousand_is_no_recursion() -> None:
    chain = [task("0"), *(task(str(index), str(index - 1)) for index in range(1, 10_000))]

    async def execute(one: Task, _: Mapping[str, TaskResult]) -> TaskResult:
        return TaskResult(task=one, status="failed", error="planted")

    results = await dispatch(chain, execute, max_concurrency=1)
    assert [result.status for result in results].count("skipped") == 9_999
