"""The places of the pool, by lane: who may hold a connection, who waits, and who has held one for longest.

Each lane has places of its own, so that a dashboard's queries never hold up what writes the spool, nor either of them
the state of the breakers. Within a lane the first to come is the first served. A place is handed from the one who
leaves to the one who waits; between the two it is nobody's, so nobody can step in between.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum

from omninode.core import current
from omninode.core.clock import Clock
from omninode.core.errors import DeadlineExceededError, PoolExhaustedError
from omninode.core.events import EventSink, MetricRecorded

__all__ = ["Lane", "LaneStatistics", "Lanes", "quantile_ms", "shares"]

_WAITS_KEPT = 1000


class Lane(StrEnum):
    """What a connection is wanted for."""

    INGEST = "ingest"
    CONTROL = "control"
    QUERY = "query"


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneStatistics:
    """One lane now, and since the pool was opened. Waits are those of the last 1,000 acquisitions.

    `size` counts the lane's own places, `in_use` what it holds, places lent by another lane included.
    """

    size: int
    in_use: int
    waiting: int
    acquired: int
    timeouts: int
    wait_p50_ms: float
    wait_p99_ms: float
    oldest_use_s: float


def shares(size: int) -> dict[frozenset[Lane], int]:
    """How a pool of `size` connections is divided: ingest 2, control 1, query the rest.

    Below 5 ingest has 1. Of two connections queries have one, ingest and control share the other; a single one is
    shared by all.
    """
    if size == 1:
        return {frozenset(Lane): 1}
    query = frozenset({Lane.QUERY})
    if size == 2:
        return {frozenset({Lane.INGEST, Lane.CONTROL}): 1, query: 1}
    ingest = 2 if size >= 5 else 1
    return {frozenset({Lane.INGEST}): ingest, frozenset({Lane.CONTROL}): 1, query: size - ingest - 1}


@dataclass(slots=True, eq=False)
class _Group:
    """Places that one lane has, or several share."""

    lanes: frozenset[Lane]
    places: int
    in_use: int = 0
    line: deque[tuple[Lane, asyncio.Future[_Group]]] = field(default_factory=deque)

    @property
    def has_room(self) -> bool:
        return self.in_use < self.places


@dataclass(slots=True, eq=False)
class _Use:
    lane: Lane
    group: _Group
    since: float
    doing: str


@dataclass(slots=True)
class _Tally:
    acquired: int = 0
    timeouts: int = 0
    waits: deque[float] = field(default_factory=lambda: deque(maxlen=_WAITS_KEPT))


class Lanes:
    """The places of one pool of `size` connections.

    Ingest may hold more than its own places while queries leave some free: at most half of theirs, and a query that
    waits comes before it. So several batch writers run at once, and still neither shuts the other out.
    """

    def __init__(self, size: int, *, clock: Clock, sink: EventSink) -> None:
        self.size = size
        self._clock = clock
        self._sink = sink
        self._groups = [_Group(lanes, places) for lanes, places in shares(size).items()]
        self._own = {lane: group for group in self._groups for lane in group.lanes}
        self._may_lend = self._own[Lane.QUERY].places // 2 if size > 2 else 0
        self._lent = 0
        self._uses: set[_Use] = set()
        self._tallies = {lane: _Tally() for lane in Lane}

    @property
    def in_use(self) -> int:
        """How many places are held, of all lanes."""
        return len(self._uses)

    @property
    def waiting(self) -> int:
        """How many callers wait, in all lanes."""
        return sum(len(group.line) for group in self._groups)

    @asynccontextmanager
    async def place(self, lane: Lane, *, doing: str, patience_s: float) -> AsyncIterator[None]:
        """A place of the lane for the body.

        Waits for at most `patience_s`, and never beyond the scope's deadline. Raises PoolExhaustedError in the first
        case, DeadlineExceededError in the second; both say who holds the lane's places.
        """
        before = self._clock.monotonic()
        group = await self._enter(lane, doing, patience_s)
        now = self._clock.monotonic()
        tally = self._tallies[lane]
        tally.waits.append(now - before)
        tally.acquired += 1
        use = _Use(lane, group, now, doing)
        self._uses.add(use)
        try:
            yield
        finally:
            self._uses.remove(use)
            self._free(lane, group)

    def statistics(self) -> dict[Lane, LaneStatistics]:
        """Every lane now."""
        return {lane: self._statistics(lane) for lane in Lane}

    def waits(self) -> list[float]:
        """The recent waits of all lanes, in seconds, shortest first."""
        return sorted(wait for tally in self._tallies.values() for wait in tally.waits)

    def oldest_use_s(self, lane: Lane | None = None) -> float:
        """How long the longest holder (of `lane`, or of all) has held its connection; 0.0 when nobody does."""
        held = (use.since for use in self._uses if lane in {None, use.lane})
        oldest = min(held, default=None)
        return 0.0 if oldest is None else self._clock.monotonic() - oldest

    def _statistics(self, lane: Lane) -> LaneStatistics:
        tally = self._tallies[lane]
        waits = sorted(tally.waits)
        return LaneStatistics(
            size=self._own[lane].places,
            in_use=sum(use.lane is lane for use in self._uses),
            waiting=sum(waiting is lane for waiting, _ in self._own[lane].line),
            acquired=tally.acquired,
            timeouts=tally.timeouts,
            wait_p50_ms=quantile_ms(waits, 0.50),
            wait_p99_ms=quantile_ms(waits, 0.99),
            oldest_use_s=self.oldest_use_s(lane),
        )

    async def _enter(self, lane: Lane, doing: str, patience_s: float) -> _Group:
        deadline = current.scope().deadline
        allowed_s = patience_s if deadline is None else deadline.cap(patience_s)
        if deadline is not None and allowed_s <= 0:
            raise DeadlineExceededError(f"{doing}: no time was left to take a connection; allow a longer deadline")
        group = self._taken(lane)
        if group is not None:
            return group
        try:
            return await self._wait(lane, allowed_s)
        except TimeoutError:
            self._tallies[lane].timeouts += 1
            self._sink.emit(MetricRecorded(metric="pool_timeouts", value=1.0, ok=False, labels={"lane": lane.value}))
            raise self._exhausted(lane, doing, allowed_s, is_by_deadline=allowed_s < patience_s) from None

    async def _wait(self, lane: Lane, allowed_s: float) -> _Group:
        line = self._own[lane].line
        waiter: asyncio.Future[_Group] = asyncio.get_running_loop().create_future()
        line.append((lane, waiter))
        async with asyncio.timeout(allowed_s):
            try:
                return await waiter
            except asyncio.CancelledError:
                if waiter.cancelled():
                    with suppress(ValueError):  # one who left has taken it out of the line already
                        line.remove((lane, waiter))
                else:
                    # A place was handed over in the very turn in which the wait was given up.
                    self._free(lane, waiter.result())
                raise

    def _taken(self, lane: Lane) -> _Group | None:
        """A place that is free now, taken; None when the lane has to wait."""
        own, lender = self._own[lane], self._own[Lane.QUERY]
        if own.has_room:
            own.in_use += 1
            return own
        if self._can_borrow(lane) and lender.has_room:
            lender.in_use += 1
            self._lent += 1
            return lender
        return None

    def _can_borrow(self, lane: Lane) -> bool:
        return lane is Lane.INGEST and self._lent < self._may_lend

    def _free(self, lane: Lane, group: _Group) -> None:
        """Take a place back from `lane` and hand it to the next who may have it."""
        group.in_use -= 1
        if lane not in group.lanes:
            self._lent -= 1
        heir = self._next(group)
        if heir is None and group is self._own[Lane.QUERY] and self._can_borrow(Lane.INGEST):
            heir = self._next(self._own[Lane.INGEST])
            self._lent += heir is not None
        if heir is not None:
            group.in_use += 1
            heir.set_result(group)

    @staticmethod
    def _next(group: _Group) -> asyncio.Future[_Group] | None:
        while group.line:
            _, waiter = group.line.popleft()
            if not waiter.done():
                return waiter
        return None

    def _exhausted(
        self, lane: Lane, doing: str, allowed_s: float, *, is_by_deadline: bool
    ) -> PoolExhaustedError | DeadlineExceededError:
        group = self._own[lane]
        oldest = min((use for use in self._uses if use.group is group), key=lambda use: use.since, default=None)
        holder = None if oldest is None else f"{oldest.doing} for {self._clock.monotonic() - oldest.since:.1f} s"
        text = (
            f"{doing}: no database connection of the lane {lane.value!r} came free within {allowed_s:.1f} s; "
            f"{group.in_use} of its {group.places} (of {self.size} in the pool) are in use, the oldest by {holder}"
        )
        if is_by_deadline:
            return DeadlineExceededError(f"{text}; allow a longer deadline, or raise CONNECTION_POOL_SIZE")
        return PoolExhaustedError(
            f"{text}; raise CONNECTION_POOL_SIZE or shorten what holds them",
            lane=lane.value,
            size=group.places,
            in_use=group.in_use,
            oldest_holder=holder,
        )


def quantile_ms(ordered_s: Iterable[float], share: float) -> float:
    """That quantile of ascending seconds, in milliseconds; 0.0 of none."""
    values = list(ordered_s)
    return values[max(0, math.ceil(share * len(values)) - 1)] * 1000 if values else 0.0
