"""The places of the pool: who gets one, who waits, and that none is ever lost or doubled."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omninode.core import current
from omninode.core.deadline import Deadline
from omninode.core.errors import DeadlineExceededError, PoolExhaustedError
from omninode.storage.config import PoolConfig
from omninode.storage.lanes import Lane, Lanes, shares
from omninode.testing.sink import RecordingSink
from omninode.testing.virtual_time import VirtualClock, run_virtual

pytestmark = pytest.mark.unit


def by_lane(size: int) -> tuple[int, int, int]:
    places = {lane: count for lanes, count in shares(size).items() for lane in lanes}
    return places[Lane.INGEST], places[Lane.CONTROL], places[Lane.QUERY]


def opened(size: int, clock: VirtualClock, sink: RecordingSink | None = None) -> Lanes:
    return Lanes(size, clock=clock, sink=sink or RecordingSink())


async def held(stack: contextlib.AsyncExitStack, lanes: Lanes, *wanted: Lane, doing: str = "x") -> None:
    for lane in wanted:
        await stack.enter_async_context(lanes.place(lane, doing=doing, patience_s=1.0))


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("size", "places"),
    [(1, (1, 1, 1)), (2, (1, 1, 1)), (3, (1, 1, 1)), (4, (1, 1, 2)), (5, (2, 1, 2)), (10, (2, 1, 7)), (50, (2, 1, 47))],
)
def test_a_pool_is_divided_by_its_size(size: int, places: tuple[int, int, int]) -> None:
    assert by_lane(size) == places
    assert sum(shares(size).values()) == size


def test_queries_that_hold_all_their_places_leave_ingest_and_control_theirs() -> None:
    async def scene(clock: VirtualClock) -> None:
        lanes = opened(10, clock)
        async with contextlib.AsyncExitStack() as stack:
            await held(stack, lanes, *[Lane.QUERY] * 7)
            await held(stack, lanes, Lane.INGEST, Lane.INGEST, Lane.CONTROL)
            assert lanes.in_use == 10
            assert lanes.statistics()[Lane.INGEST].wait_p99_ms == 0
            with pytest.raises(PoolExhaustedError):
                await held(stack, lanes, Lane.QUERY)

    run_virtual(scene)


def test_writers_borrow_at_most_half_of_what_queries_leave_free() -> None:
    async def scene(clock: VirtualClock) -> None:
        lanes = opened(10, clock)
        async with contextlib.AsyncExitStack() as writers, contextlib.AsyncExitStack() as readers:
            await held(writers, lanes, *[Lane.INGEST] * 5)
            with pytest.raises(PoolExhaustedError):
                await held(writers, lanes, Lane.INGEST)
            await held(readers, lanes, *[Lane.QUERY] * 4)
            with pytest.raises(PoolExhaustedError):
                await held(readers, lanes, Lane.QUERY)
            assert lanes.statistics()[Lane.CONTROL].in_use == 0
        assert lanes.in_use == 0

    run_virtual(scene)


def test_a_lent_place_goes_to_the_waiting_query_before_the_waiting_writer() -> None:
    async def scene(clock: VirtualClock) -> None:
        lanes = opened(5, clock)  # ingest 2, control 1, query 2, of which 1 may be lent
        order: list[str] = []

        async def work(lane: Lane, name: str) -> None:
            async with lanes.place(lane, doing=name, patience_s=10):
                order.append(name)

        lent = contextlib.AsyncExitStack()
        async with contextlib.AsyncExitStack() as rest, asyncio.TaskGroup() as group:
            await held(rest, lanes, Lane.INGEST, Lane.INGEST)
            await held(lent, lanes, Lane.INGEST)
            await held(rest, lanes, Lane.QUERY)
            for lane, name in ((Lane.INGEST, "writer"), (Lane.QUERY, "query")):
                group.create_task(work(lane, name))
            await settle()
            await lent.aclose()
            await settle()
            assert order == ["query", "writer"]

    run_virtual(scene)


def test_first_come_first_served_within_a_lane() -> None:
    async def scene(clock: VirtualClock) -> None:
        lanes = opened(1, clock)
        order: list[int] = []

        async def work(number: int) -> None:
            async with lanes.place(list(Lane)[number % 3], doing="x", patience_s=60):
                order.append(number)
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            for number in range(12):
                group.create_task(work(number))
        assert order == list(range(12))

    run_virtual(scene)


def test_an_exhausted_lane_is_told_when_patience_ends_and_not_before() -> None:
    async def scene(clock: VirtualClock) -> None:
        sink = RecordingSink()
        lanes = opened(3, clock, sink)
        async with lanes.place(Lane.QUERY, doing="a slow report", patience_s=1):
            await asyncio.sleep(2)
            before = clock.monotonic()
            with pytest.raises(PoolExhaustedError, match=r"lane 'query'.*1 of its 1 \(of 3 in the pool\)") as caught:
                async with lanes.place(Lane.QUERY, doing="a page", patience_s=PoolConfig().acquire_timeout_s):
                    pass
            assert clock.monotonic() - before == pytest.approx(4.5)
        assert (caught.value.lane, caught.value.size, caught.value.in_use) == ("query", 1, 1)
        assert caught.value.oldest_holder == "a slow report for 6.5 s"
        assert lanes.statistics()[Lane.QUERY].timeouts == 1
        assert [(event.metric, event.labels) for event in sink.events] == [("pool_timeouts", {"lane": "query"})]

    run_virtual(scene)


def test_the_scopes_deadline_ends_the_wait_before_patience_does() -> None:
    async def scene(clock: VirtualClock) -> None:
        lanes = opened(3, clock)
        async with lanes.place(Lane.QUERY, doing="a slow report", patience_s=1):
            before = clock.monotonic()
            with (
                current.entered(deadline=Deadline.after(0.5, clock=clock)),
                pytest.raises(DeadlineExceededError, match="the oldest by a slow report"),
            ):
                async with lanes.place(Lane.QUERY, doing="a page", patience_s=5.0):
                    pass
            assert clock.monotonic() - before == pytest.approx(0.5)
        with current.entered(deadline=Deadline.after(0, clock=clock)), pytest.raises(DeadlineExceededError):
            async with lanes.place(Lane.QUERY, doing="a page", patience_s=5.0):
                pass
        assert lanes.in_use == 0

    run_virtual(scene)


def test_a_place_handed_over_in_the_turn_of_the_cancellation_goes_on_to_the_next() -> None:
    async def scene(clock: VirtualClock) -> None:
        lanes = opened(3, clock)
        got: list[str] = []

        async def work(name: str) -> None:
            async with lanes.place(Lane.QUERY, doing=name, patience_s=60):
                got.append(name)

        first = contextlib.AsyncExitStack()
        await held(first, lanes, Lane.QUERY)
        cancelled, waiting = asyncio.create_task(work("cancelled")), asyncio.create_task(work("waiting"))
        await settle()
        await first.aclose()  # hands the place to the first in the line, who has not run yet
        cancelled.cancel()
        await asyncio.wait([cancelled, waiting])
        assert (cancelled.cancelled(), got, lanes.in_use) == (True, ["waiting"], 0)

    run_virtual(scene)


def test_one_who_gave_up_in_the_turn_in_which_a_place_came_free_is_passed_over() -> None:
    async def scene(clock: VirtualClock) -> None:
        lanes = opened(3, clock)
        got: list[str] = []

        async def work(name: str) -> None:
            async with lanes.place(Lane.QUERY, doing=name, patience_s=60):
                got.append(name)

        first = contextlib.AsyncExitStack()
        await held(first, lanes, Lane.QUERY)
        cancelled, waiting = asyncio.create_task(work("cancelled")), asyncio.create_task(work("waiting"))
        await settle()
        cancelled.cancel()  # it has not run, and stands in the line still
        await first.aclose()
        await asyncio.wait([cancelled, waiting])
        assert (cancelled.cancelled(), got, lanes.in_use) == (True, ["waiting"], 0)

    run_virtual(scene)


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("come"), st.sampled_from(Lane), st.floats(0.01, 3)),
        st.tuples(st.just("end"), st.integers(0, 30), st.none()),
        st.tuples(st.just("cancel"), st.integers(0, 30), st.none()),
        st.tuples(st.just("end, then cancel"), st.integers(0, 30), st.integers(0, 30)),
        st.tuples(st.just("end and cancel"), st.integers(0, 30), st.integers(0, 30)),
        st.tuples(st.just("wait"), st.floats(0.01, 2), st.none()),
        st.tuples(st.just("turn"), st.none(), st.none()),
    ),
    max_size=60,
)


class _Crowd:
    """Tasks that hold places until they are told to end; checks after each step what must always hold."""

    def __init__(self, size: int, clock: VirtualClock) -> None:
        self.lanes = opened(size, clock)
        self.size = size
        self.inside: dict[Lane, int] = dict.fromkeys(Lane, 0)
        self.tasks: list[asyncio.Task[None]] = []
        self.ends: list[asyncio.Event] = []

    async def _work(self, lane: Lane, patience_s: float, end: asyncio.Event) -> None:
        with contextlib.suppress(PoolExhaustedError):
            async with self.lanes.place(lane, doing=lane.value, patience_s=patience_s):
                self.inside[lane] += 1
                try:
                    await end.wait()
                finally:
                    self.inside[lane] -= 1

    async def step(self, kind: str, first: object, second: object) -> None:
        match kind, first, second:
            case "come", Lane() as lane, float() as patience_s:
                self.ends.append(asyncio.Event())
                self.tasks.append(asyncio.create_task(self._work(lane, patience_s, self.ends[-1])))
            case "end" | "end, then cancel" | "end and cancel", int() as number, other if self.ends:
                self.ends[number % len(self.ends)].set()
                if kind == "end, then cancel":
                    await asyncio.sleep(0)  # the place is handed over; the heir has not run
                if isinstance(other, int):
                    self.tasks[other % len(self.tasks)].cancel()
            case "cancel", int() as number, _ if self.tasks:
                self.tasks[number % len(self.tasks)].cancel()
            case "wait", float() as seconds, _:
                await asyncio.sleep(seconds)
            case _:
                await settle()

    def check(self) -> None:
        assert sum(self.inside.values()) <= self.size
        own = dict(zip((Lane.INGEST, Lane.CONTROL, Lane.QUERY), by_lane(self.size), strict=True))
        lends = own[Lane.QUERY] // 2 if self.size > 2 else 0
        assert self.inside[Lane.CONTROL] <= own[Lane.CONTROL]
        assert self.inside[Lane.QUERY] <= own[Lane.QUERY]
        assert self.inside[Lane.INGEST] <= own[Lane.INGEST] + lends

    async def all_can_enter(self) -> None:
        """When everybody has gone, each lane has all of its own places again, all at once."""
        async with contextlib.AsyncExitStack() as stack:
            for lanes, count in shares(self.size).items():
                await held(stack, self.lanes, *[min(lanes)] * count)
            assert self.lanes.in_use == self.size


@given(size=st.integers(1, 12), steps=_STEPS)
@settings(max_examples=200, deadline=None)
def test_no_place_is_lost_or_doubled_however_callers_come_wait_end_and_are_cancelled(
    size: int, steps: list[tuple[str, object, object]]
) -> None:
    async def scene(clock: VirtualClock) -> None:
        crowd = _Crowd(size, clock)
        for kind, first, second in steps:
            await crowd.step(kind, first, second)
            crowd.check()
        for end in crowd.ends:
            end.set()
        if crowd.tasks:
            await asyncio.wait(crowd.tasks)
        assert (crowd.lanes.in_use, crowd.lanes.waiting) == (0, 0)
        await crowd.all_can_enter()

    run_virtual(scene)
