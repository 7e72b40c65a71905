"""One source being asked: its queries, what came back, how each ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from omninode.context.item import ContextItem, SourceReport, SourceStatus
from omninode.context.rank import Ranking
from omninode.context.source import Source, Traits, traits_of
from omninode.core.errors import AttemptTimeoutError, DeadlineExceededError, RefusedError

__all__ = ["Inquiry", "normal_query", "status_of"]

_LATE = "not finished when the deadline came; allow more time"
# Which status tells most about a source that lost queries in several ways.
_TELLING: tuple[SourceStatus, ...] = ("failed", "late", "open")


def normal_query(query: str) -> str:
    """The same text for queries that differ only in white space and letter case."""
    return " ".join(query.split()).casefold()


def status_of(error: BaseException | None) -> SourceStatus:
    """The status of a query that ended with `error`."""
    if error is None:
        return "ok"
    if isinstance(error, RefusedError):
        return "open"
    if isinstance(error, DeadlineExceededError | AttemptTimeoutError):
        return "late"
    return "failed"


@dataclass(slots=True, kw_only=True)
class Inquiry:
    """The progress of one source within one gathering; filled in by the gatherer's tasks, all on one loop."""

    source: Source
    queries: tuple[str, ...]
    started: float
    answers: dict[str, Sequence[ContextItem]] = field(default_factory=dict)
    errors: dict[str, BaseException] = field(default_factory=dict)
    cached: int = 0
    ended: float | None = None
    is_told: bool = False

    @property
    def traits(self) -> Traits:
        """The traits of the source."""
        return traits_of(self.source)

    @property
    def is_finished(self) -> bool:
        """Whether every query has ended."""
        return len(self.answers) + len(self.errors) == len(self.queries)

    def answer(self, query: str, items: Sequence[ContextItem], *, at: float) -> None:
        """Take the items for `query`."""
        self.answers[query] = items
        self.ended = at

    def fail(self, query: str, error: BaseException, *, at: float) -> None:
        """Take the error in place of an answer to `query`."""
        self.errors[query] = error
        self.ended = at

    def cut_off(self, *, at: float) -> None:
        """What has not ended by now is late."""
        for query in self.queries:
            if query not in self.answers and query not in self.errors:
                self.fail(query, DeadlineExceededError(_LATE), at=at)

    def rankings(self) -> list[Ranking]:
        """What came, one list per query, in the order of the queries."""
        return [
            Ranking(source=self.source.name, items=self.answers[query], weight=self.traits.weight)
            for query in self.queries
            if query in self.answers
        ]

    def failure(self) -> BaseException | None:
        """The error that tells most about the source; None when every query was answered."""
        return min(self.errors.values(), key=lambda error: _TELLING.index(status_of(error)), default=None)

    def report(self) -> SourceReport:
        """How the source did; all queries have ended."""
        error = self.failure()
        status = status_of(error)
        items = [item for answer in self.answers.values() for item in answer]
        return SourceReport(
            source=self.source.name,
            context_type=self.source.context_type,
            status=status,
            items=len(items),
            tokens=sum(item.tokens for item in items),
            duration_ms=1000 * ((self.ended if self.ended is not None else self.started) - self.started),
            queries=len(self.queries),
            answered=len(self.answers),
            cached=self.cached,
            error=None if error is None else _told(error),
        )


def _told(error: BaseException) -> str:
    message = str(error).split("\n", 1)[0][:300]
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
