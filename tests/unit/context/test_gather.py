"""Asking many sources at once: what comes back, what is told about what did not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from omninode.context.cache import RetrievalCache
from omninode.context.decision import Choice, Decision
from omninode.context.gather import ContextGatherer
from omninode.context.item import ContextItem
from omninode.context.source import SourceQuery, Traits
from omninode.core import current
from omninode.core.deadline import Deadline
from omninode.core.errors import BreakerOpenError, InvalidArgumentError, SourceError
from omninode.core.events import ErrorOccurred, SourceFinished
from omninode.core.ids import uuid7
from omninode.testing.clock import FakeClock
from omninode.testing.sink import RecordingSink

pytestmark = pytest.mark.unit


class Scripted:
    """A source that does what it is told and remembers what it was asked."""

    context_type = "search"

    def __init__(self, name: str, *, act: Callable | None = None, traits: Traits | None = None) -> None:
        self.name = name
        self.traits = traits or Traits(is_per_query=True)
        self.asked: list[tuple[str, ...]] = []
        self._act = act

    async def fetch(self, query: SourceQuery) -> list[ContextItem]:
        self.asked.append(query.queries)
        if self._act is not None:
            return await self._act(query)
        return [item(self.name, f"{self.name} on {query.queries[0]} {n}") for n in range(query.max_results)]


def item(source: str, content: str, **fields) -> ContextItem:
    return ContextItem(id=f"{source}:{content}", source=source, context_type="search", content=content, **fields)


async def hang(query: SourceQuery) -> list[ContextItem]:
    await asyncio.Event().wait()
    return []


def raising(error: BaseException) -> Callable:
    async def act(query: SourceQuery) -> list[ContextItem]:
        raise error

    return act


def statuses(gathered) -> dict[str, str]:
    return {report.source: report.status for report in gathered.sources}


async def test_every_source_is_asked_every_query() -> None:
    a, b = Scripted("a"), Scripted("b")
    gathered = await ContextGatherer([a, b]).gather_global_context("prompt", ["one", "two"], 2)
    assert sorted(a.asked) == sorted(b.asked) == [("one",), ("two",)]
    assert len(gathered) == 8
    assert [(report.queries, report.answered, report.items) for report in gathered.sources] == [(2, 2, 4)] * 2


async def test_prompt_is_the_query_when_none_is_given() -> None:
    source = Scripted("a")
    await ContextGatherer([source]).gather_global_context("the prompt")
    assert source.asked == [("the prompt",)]


async def test_source_that_answers_the_prompt_is_asked_once() -> None:
    source = Scripted("a", traits=Traits())
    await ContextGatherer([source]).gather_global_context("the prompt", ["one", "two"])
    assert source.asked == [("the prompt",)]


async def test_queries_that_say_the_same_are_asked_once() -> None:
    source = Scripted("a")
    await ContextGatherer([source]).gather_global_context("p", ["One  two", "one two", "other", " "])
    assert source.asked == [("One  two",), ("other",)]


async def test_all_questions_are_under_way_at_once() -> None:
    barrier = asyncio.Barrier(6)

    async def meet(query: SourceQuery) -> list[ContextItem]:
        await barrier.wait()
        return []

    sources = [Scripted(name, act=meet) for name in "abc"]
    gathered = await ContextGatherer(sources).gather_global_context("p", ["one", "two"])
    assert gathered.is_complete


async def test_limit_bounds_what_is_under_way() -> None:
    running = most = 0

    async def count(query: SourceQuery) -> list[ContextItem]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return []

    await ContextGatherer([Scripted("a", act=count)], limit=3).gather_global_context("p", [str(n) for n in range(9)])
    assert most == 3


@pytest.mark.fault
async def test_failing_late_and_refused_sources_cost_their_share_only() -> None:
    sources = [
        Scripted("good"),
        Scripted("bad", act=raising(SourceError("no route to host"))),
        Scripted("odd", act=raising(ZeroDivisionError("division by zero"))),
        Scripted("slow", act=hang, traits=Traits(timeout_s=0.01)),
        Scripted("shut", act=raising(BreakerOpenError("breaker 'shut' is open", breaker="shut"))),
    ]
    gathered = await ContextGatherer(sources).gather_global_context("p", max_rag_results=2)
    assert statuses(gathered) == {"good": "ok", "bad": "failed", "odd": "failed", "slow": "late", "shut": "open"}
    assert {entry.source for entry in gathered.values()} == {"good"}
    assert gathered.sources[1].error == "SourceError: no route to host"
    assert not gathered.is_complete
    assert [report.source for report in gathered.lost] == ["bad", "odd", "slow", "shut"]


@pytest.mark.fault
async def test_source_that_answers_nonsense_failed() -> None:
    async def nonsense(query: SourceQuery):
        return None

    async def strings(query: SourceQuery):
        return ["text"]

    sources = [Scripted("none", act=nonsense), Scripted("strings", act=strings)]
    gathered = await ContextGatherer(sources).gather_global_context("p")
    assert statuses(gathered) == {"none": "failed", "strings": "failed"}


@pytest.mark.fault
async def test_deadline_ends_the_wait_with_what_is_there_and_leaves_no_task() -> None:
    before = asyncio.all_tasks()
    sources = [Scripted("good"), Scripted("slow", act=hang)]
    gathered = await ContextGatherer(sources, timeout_s=30).gather_global_context("p", deadline=Deadline.after(0.02))
    assert statuses(gathered) == {"good": "ok", "slow": "late"}
    assert len(gathered) == 5
    assert asyncio.all_tasks() == before


@pytest.mark.fault
async def test_deadline_of_the_scope_holds_too() -> None:
    with current.entered(deadline=Deadline.after(0.02)):
        gathered = await ContextGatherer([Scripted("slow", act=hang)]).gather_global_context("p")
    assert statuses(gathered) == {"slow": "late"}


@pytest.mark.fault
async def test_deadline_that_has_passed_gives_reports_and_no_items() -> None:
    gathered = await ContextGatherer([Scripted("slow", act=hang)]).gather_global_context(
        "p", deadline=Deadline.after(0)
    )
    assert statuses(gathered) == {"slow": "late"}
    assert len(gathered) == 0


@pytest.mark.fault
async def test_lost_query_keeps_the_items_of_the_others_and_is_told() -> None:
    async def half(query: SourceQuery) -> list[ContextItem]:
        if query.queries == ("bad",):
            raise SourceError("no")
        return [item("a", "found")]

    gathered = await ContextGatherer([Scripted("a", act=half)]).gather_global_context("p", ["good", "bad"])
    (report,) = gathered.sources
    assert (report.status, report.answered, report.queries, report.is_partial) == ("failed", 1, 2, True)
    assert [entry.content for entry in gathered.values()] == ["found"]


@pytest.mark.fault
async def test_cancellation_reaches_every_source_and_leaves_no_task() -> None:
    cancelled: list[str] = []

    async def notice(query: SourceQuery) -> list[ContextItem]:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(query.queries[0])
        return []

    before = asyncio.all_tasks()
    gathering = asyncio.ensure_future(
        ContextGatherer([Scripted("a", act=notice)]).gather_global_context("p", ["one", "two"])
    )
    await asyncio.sleep(0.01)
    gathering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gathering
    assert sorted(cancelled) == ["one", "two"]
    assert asyncio.all_tasks() == before


class Chooses:
    """Leaves out the sources it is told to, and remembers what it was told."""

    def __init__(self, *left_out: str) -> None:
        self._left_out = left_out
        self.observed: list[tuple[Decision, list[str]]] = []

    def choose(self, prompt, sources, *, task_type="general") -> Decision:
        choices = [
            Choice(source=source.name, context_type=source.context_type, included=source.name not in self._left_out)
            for source in sources
        ]
        return Decision(task_type=task_type, choices=tuple(choices))

    def observe(self, decision, reports) -> None:
        self.observed.append((decision, [report.status for report in reports]))


async def test_source_the_optimizer_leaves_out_is_skipped_and_told() -> None:
    chooser, a, b = Chooses("b"), Scripted("a"), Scripted("b")
    gathered = await ContextGatherer([a, b], optimizer=chooser).gather_global_context("p", task_type="debug")
    assert statuses(gathered) == {"a": "ok", "b": "skipped"}
    assert b.asked == []
    assert gathered.is_complete
    ((decision, told),) = chooser.observed
    assert (decision.id, decision.task_type, told) == (gathered.decision_id, "debug", ["ok", "skipped"])


async def test_each_source_emits_one_event_with_run_and_phase() -> None:
    sink, run_id = RecordingSink(), uuid7()
    sources = [Scripted("good"), Scripted("slow", act=hang), Scripted("bad", act=raising(SourceError("no")))]
    gatherer = ContextGatherer(sources, sink=sink, timeout_s=0.02, optimizer=Chooses())
    with current.entered(run_id=run_id, phase="context_gathering"):
        await gatherer.gather_global_context("p", ["one", "two"], 3)
    told = {event.source: (event.status, event.items, event.run_id, event.phase) for event in sink.of(SourceFinished)}
    assert len(sink.of(SourceFinished)) == 3
    assert told == {
        "good": ("ok", 6, run_id, "context_gathering"),
        "slow": ("late", 0, run_id, "context_gathering"),
        "bad": ("failed", 0, run_id, "context_gathering"),
    }


async def test_event_of_a_fast_source_does_not_wait_for_a_slow_one() -> None:
    sink, go = RecordingSink(), asyncio.Event()

    async def wait(query: SourceQuery) -> list[ContextItem]:
        await go.wait()
        return []

    gatherer = ContextGatherer([Scripted("slow", act=wait), Scripted("fast")], sink=sink)
    gathering = asyncio.ensure_future(gatherer.gather_global_context("p"))
    await asyncio.sleep(0.01)
    assert [event.source for event in sink.of(SourceFinished)] == ["fast"]
    go.set()
    await gathering


async def test_same_text_from_two_sources_is_one_item_that_names_both() -> None:
    async def same(query: SourceQuery) -> list[ContextItem]:
        return [item("x", "The  same TEXT"), item("x", "another")]

    async def alike(query: SourceQuery) -> list[ContextItem]:
        return [item("y", "the same text\n")]

    gathered = await ContextGatherer([Scripted("a", act=same), Scripted("b", act=alike)]).gather_global_context("p")
    assert [entry.content for entry in gathered.values()] == ["The  same TEXT", "another"]
    assert gathered.items_by_rank[0].metadata["origins"] == ("a", "b")


async def test_source_with_more_results_than_asked_is_cut() -> None:
    async def many(query: SourceQuery) -> list[ContextItem]:
        return [item("a", str(n)) for n in range(100)]

    gathered = await ContextGatherer([Scripted("a", act=many)]).gather_global_context("p", max_rag_results=3)
    assert [entry.content for entry in gathered.values()] == ["0", "1", "2"]


async def test_statistics_count_sources_by_status() -> None:
    gatherer = ContextGatherer([Scripted("a"), Scripted("b", act=raising(SourceError("no")))])
    await gatherer.gather_global_context("p", ["one", "two"])
    await gatherer.gather_global_context("p")
    told = gatherer.statistics()
    assert (told.gathered, told.asked, told.ok, told.failed, told.late) == (2, 6, 2, 2, 0)


async def test_no_sources_give_an_empty_result() -> None:
    gathered = await ContextGatherer([]).gather_global_context("p")
    assert (len(gathered), gathered.sources, gathered.is_complete) == (0, (), True)


async def test_bad_arguments_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="max_rag_results"):
        await ContextGatherer([]).gather_global_context("p", [], 0)
    with pytest.raises(InvalidArgumentError, match="'a'"):
        ContextGatherer([Scripted("a"), Scripted("a")])


async def test_identical_queries_of_one_run_share_one_task() -> None:
    began, go = asyncio.Event(), asyncio.Event()

    async def wait(query: SourceQuery) -> list[ContextItem]:
        began.set()
        await go.wait()
        return [item("a", "found")]

    source = Scripted("a", act=wait, traits=Traits(is_per_query=True, is_remote=True))
    gatherer = ContextGatherer([source])
    both = [asyncio.ensure_future(gatherer.gather_global_context("p", [query])) for query in ("Same one", "same  ONE")]
    await began.wait()
    await asyncio.sleep(0)
    go.set()
    results = [await one for one in both]
    assert source.asked == [("Same one",)]
    assert [[entry.content for entry in gathered.values()] for gathered in results] == [["found"]] * 2
    assert [gathered.sources[0].cached for gathered in results] == [0, 1]


async def test_remote_answer_is_kept_for_its_time_and_a_local_one_is_not() -> None:
    clock = FakeClock()
    remote = Scripted("remote", traits=Traits(is_per_query=True, is_remote=True))
    local = Scripted("local")
    gatherer = ContextGatherer([remote, local], cache=RetrievalCache(ttl_s=60, clock=clock))
    for _ in range(3):
        gathered = await gatherer.gather_global_context("p")
    assert (len(remote.asked), len(local.asked)) == (1, 3)
    assert [report.cached for report in gathered.sources] == [1, 0]
    clock.advance(61)
    await gatherer.gather_global_context("p")
    assert len(remote.asked) == 2


@pytest.mark.fault
async def test_failure_of_a_remote_source_is_not_kept() -> None:
    answers = [SourceError("down"), None]

    async def act(query: SourceQuery) -> list[ContextItem]:
        error = answers.pop(0)
        if error is not None:
            raise error
        return [item("a", "found")]

    source = Scripted("a", act=act, traits=Traits(is_per_query=True, is_remote=True))
    gatherer = ContextGatherer([source], cache=RetrievalCache())
    assert statuses(await gatherer.gather_global_context("p")) == {"a": "failed"}
    assert statuses(await gatherer.gather_global_context("p")) == {"a": "ok"}


async def test_each_failed_or_late_source_is_an_error_with_its_name():
    sink = RecordingSink()

    async def fail(query: SourceQuery) -> list[ContextItem]:
        raise SourceError("answered 500")

    sources = [Scripted("good"), Scripted("broken", act=fail), Scripted("slow", act=hang)]
    gatherer = ContextGatherer(sources, sink=sink, timeout_s=0.05)
    for _ in range(2):
        await gatherer.gather_global_context("p", ["one", "two"])
    told = sorted((event.context["source"], event.error_class) for event in sink.of(ErrorOccurred))
    assert told == [("broken", "SourceError")] * 2 + [("slow", "DeadlineExceededError")] * 2
