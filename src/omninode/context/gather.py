"""Asking every context source at once, under one deadline.

All chosen sources get all their queries at the same time; the slowest one, or the deadline, ends the wait. What is
there by then is ranked into one list. A source that failed or was late costs its share and is told in the result.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from omninode.context.cache import RetrievalCache, retrieval_key
from omninode.context.decision import Chooser, Decision
from omninode.context.inquiry import Inquiry, normal_query
from omninode.context.item import ContextItem, GatheredContext, SourceReport
from omninode.context.rank import fuse, merge_contained
from omninode.context.source import Source, SourceQuery, traits_of
from omninode.core import ambient, current
from omninode.core.clock import Clock, SystemClock
from omninode.core.concurrency import gather_settled
from omninode.core.deadline import Deadline, within
from omninode.core.errors import InvalidArgumentError, SourceError
from omninode.core.events import EventSink, NullSink, SourceFinished
from omninode.telemetry.errors import tell_error

__all__ = ["ContextGatherer", "GatherStatistics"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GatherStatistics:
    """What a gatherer has done since it was made; the counts by status are of sources, not of queries."""

    gathered: int = 0
    asked: int = 0
    cached: int = 0
    ok: int = 0
    late: int = 0
    failed: int = 0
    open: int = 0
    skipped: int = 0


class ContextGatherer:
    """Gathers context for a prompt from several sources. Safe to use concurrently from one event loop.

    Args:
        sources: whom to ask; their names are unique. None takes the gatherer that the open runtime, or one opened now
            (`core.ambient`), has for the working directory, with its own settings.
        timeout_s: the longest a gathering takes, inside the deadline it is given; also each source's own limit where
            its traits name none.
        limit: how many queries are under way at once.
        clock: for durations and deadlines.
        sink: gets a `SourceFinished` per source, as soon as it has ended.
        cache: keeps the answers of remote sources and lets identical queries under way share one task; by default they
            are shared and not kept.
        optimizer: decides which sources are worth asking; without one all are asked.
    """

    def __init__(
        self,
        sources: Sequence[Source] | None = None,
        *,
        timeout_s: float = 10.0,
        limit: int = 32,
        clock: Clock | None = None,
        sink: EventSink | None = None,
        cache: RetrievalCache | None = None,
        optimizer: Chooser | None = None,
    ) -> None:
        self._is_ambient = sources is None
        self.sources = tuple(sources or ())
        names = Counter(source.name for source in self.sources)
        twice = [name for name, count in names.items() if count > 1]
        if twice:
            raise InvalidArgumentError(f"two sources are named {twice[0]!r}; give each a name of its own")
        if timeout_s <= 0:
            raise InvalidArgumentError(f"timeout_s is {timeout_s}; pass more than zero")
        self._timeout_s = timeout_s
        self._limit = limit
        self._clock = clock or SystemClock()
        self._sink = sink or NullSink()
        self._cache = cache or RetrievalCache(ttl_s=None, clock=self._clock)
        self._optimizer = optimizer
        self._counts: Counter[str] = Counter()

    async def gather_global_context(
        self,
        user_prompt: str,
        rag_queries: Sequence[str] | None = None,
        max_rag_results: int = 5,
        *,
        deadline: Deadline | None = None,
        task_type: str = "general",
    ) -> GatheredContext:
        """Items by id, best first, with a report per source.

        Args:
            user_prompt: what the context is for; also the one query when `rag_queries` is empty.
            rag_queries: asked of every source that answers queries; repetitions are asked once.
            max_rag_results: the most items taken from one source for one query.
            deadline: when the result is due; what is missing then is left out and reported as `late`.
            task_type: what kind of task it is for, for the optimiser.

        Raises only for bad arguments and cancellation, never because of a source.
        """
        if max_rag_results < 1:
            raise InvalidArgumentError(f"max_rag_results is {max_rag_results}; ask for at least one")
        if self._is_ambient:
            gatherer: ContextGatherer = (await ambient.runtime()).gatherer(Path.cwd())
            return await gatherer.gather_global_context(
                user_prompt, rag_queries, max_rag_results, deadline=deadline, task_type=task_type
            )
        began = self._clock.monotonic()
        decision = self._decide(user_prompt, task_type)
        due = self._due(deadline)
        inquiries = self._inquiries(user_prompt, rag_queries or (), decision, began)
        question = SourceQuery(prompt=user_prompt, queries=(), max_results=max_rag_results, deadline=due)
        calls = [self._bound(inquiry, query, question) for inquiry in inquiries for query in inquiry.queries]
        await gather_settled(calls, limit=self._limit, deadline=due)
        reports = self._conclude(inquiries, decision)
        items = merge_contained(fuse(ranking for inquiry in inquiries for ranking in inquiry.rankings()))
        return GatheredContext(
            items,
            sources=reports,
            decision_id=decision.id,
            duration_ms=1000 * (self._clock.monotonic() - began),
        )

    def statistics(self) -> GatherStatistics:
        """Counts since the gatherer was made."""
        return GatherStatistics(**self._counts)

    def _decide(self, prompt: str, task_type: str) -> Decision:
        if self._optimizer is None:
            return Decision(task_type=task_type)
        return self._optimizer.choose(prompt, self.sources, task_type=task_type)

    def _due(self, deadline: Deadline | None) -> Deadline:
        own = Deadline.after(self._timeout_s, clock=self._clock)
        return own.narrowed(deadline).narrowed(current.scope().deadline)

    def _inquiries(self, prompt: str, queries: Sequence[str], decision: Decision, began: float) -> list[Inquiry]:
        asked = [query for query in queries if query.strip()] or [prompt]
        distinct = tuple({normal_query(query): query for query in reversed(asked)}.values())[::-1]
        return [
            Inquiry(source=source, queries=distinct if traits_of(source).is_per_query else (prompt,), started=began)
            for source in self.sources
            if decision.includes(source.name)
        ]

    def _bound(self, inquiry: Inquiry, query: str, question: SourceQuery) -> Callable[[], Awaitable[None]]:
        return lambda: self._ask(inquiry, query, question)

    async def _ask(self, inquiry: Inquiry, query: str, question: SourceQuery) -> None:
        """Ask one source one query; its own time begins here, not while it waits for a free place."""
        limit = Deadline.after(inquiry.traits.timeout_s or self._timeout_s, clock=self._clock)
        limit = limit.narrowed(question.deadline)
        asked = replace(question, queries=(query,), deadline=limit)
        try:
            async with within(limit, doing=f"context source {inquiry.source.name!r}"):
                items = await self._fetch(inquiry, asked)
        except Exception as error:  # noqa: BLE001 - border: a source is the user's code
            inquiry.fail(query, error, at=self._clock.monotonic())
        else:
            inquiry.answer(query, items, at=self._clock.monotonic())
        if inquiry.is_finished:
            self._tell(inquiry)

    async def _fetch(self, inquiry: Inquiry, question: SourceQuery) -> Sequence[ContextItem]:
        async def fetch() -> tuple[ContextItem, ...]:
            items = tuple(await inquiry.source.fetch(question))[: question.max_results]
            if not all(isinstance(item, ContextItem) for item in items):
                raise SourceError(f"source {inquiry.source.name!r} answered with something else than context items")
            return items

        if not inquiry.traits.is_remote:
            return await fetch()
        key = retrieval_key(inquiry.source.name, question)
        found = await self._cache.fetch(key, fetch)
        inquiry.cached += found.is_cached
        return found.items

    def _conclude(self, inquiries: Sequence[Inquiry], decision: Decision) -> list[SourceReport]:
        """The reports of all sources, in their order; tells the sink and the optimiser what it has not told yet."""
        now = self._clock.monotonic()
        by_name = {}
        for inquiry in inquiries:
            inquiry.cut_off(at=now)
            self._tell(inquiry)
            by_name[inquiry.source.name] = inquiry.report()
        reports = [by_name.get(source.name) or self._skipped(source) for source in self.sources]
        self._counts.update(report.status for report in reports)
        self._counts.update(gathered=1, asked=sum(len(inquiry.queries) for inquiry in inquiries))
        self._counts.update(cached=sum(inquiry.cached for inquiry in inquiries))
        if self._optimizer is not None:
            self._optimizer.observe(decision, reports)
        return reports

    def _skipped(self, source: Source) -> SourceReport:
        report = SourceReport(source=source.name, context_type=source.context_type, status="skipped")
        self._emit(report)
        return report

    def _tell(self, inquiry: Inquiry) -> None:
        if not inquiry.is_told:
            inquiry.is_told = True
            self._emit(inquiry.report())
            if (failure := inquiry.failure()) is not None:
                context = {"source": inquiry.source.name, "context_type": inquiry.source.context_type}
                tell_error(self._sink, failure, where="context.gather", context=context)

    def _emit(self, report: SourceReport) -> None:
        scope = current.scope()
        self._sink.emit(
            SourceFinished(
                run_id=scope.run_id,
                phase=scope.phase,
                source=report.source,
                context_type=report.context_type,
                status=report.status,
                items=report.items,
                duration_ms=report.duration_ms,
                error=report.error,
            )
        )
