"""Single flight: one piece of work for all who ask at once."""

from __future__ import annotations

import asyncio

import pytest

from omninode.core import current
from omninode.core.deadline import Deadline
from omninode.core.errors import DeadlineExceededError, ProviderUnavailableError, RefusedError, RequestRejectedError
from omninode.routing.cache.single_flight import SingleFlight

pytestmark = pytest.mark.unit


class Work:
    """Work that ends when it is told to, and counts how often it was begun."""

    def __init__(self, *results: object) -> None:
        self.results = list(results)
        self.begun = 0
        self.cancelled = 0
        self.go = asyncio.Event()

    async def __call__(self) -> object:
        result = self.results[min(self.begun, len(self.results) - 1)]
        self.begun += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(result, Exception):
            raise result
        return result


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_all_who_ask_at_once_get_the_one_result():
    flights, work = SingleFlight(), Work("v")
    callers = [asyncio.ensure_future(flights.run("k", work)) for _ in range(20)]
    await turns()
    work.go.set()
    flown = await asyncio.gather(*callers)
    assert work.begun == 1
    assert [entry.is_shared for entry in flown] == [False] + [True] * 19
    assert (flights.statistics().running, flights.statistics().joined) == (0, 19)


async def test_other_keys_fly_apart_and_later_calls_fly_again():
    flights, work = SingleFlight(), Work("v")
    work.go.set()
    await asyncio.gather(flights.run("a", work), flights.run("b", work))
    await flights.run("a", work)
    assert work.begun == 3


async def test_the_first_may_leave_and_the_others_get_the_result():
    flights, work = SingleFlight(), Work("v")
    first, second = (asyncio.ensure_future(flights.run("k", work)) for _ in range(2))
    await turns()
    first.cancel()
    await turns()
    assert first.cancelled()
    work.go.set()
    assert (await second).value == "v"
    assert work.begun == 1


async def test_the_last_to_leave_ends_the_work_before_it_is_gone():
    flights, work = SingleFlight(), Work("v")
    callers = [asyncio.ensure_future(flights.run("k", work)) for _ in range(3)]
    await turns()
    for caller in callers:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    assert work.cancelled == 1
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert (flights.statistics().running, flights.statistics().abandoned) == (0, 1)


async def test_a_newcomer_does_not_join_a_flight_that_is_being_ended():
    flights, work = SingleFlight(), Work("v")
    first = asyncio.ensure_future(flights.run("k", work))
    await turns()
    first.cancel()
    second = asyncio.ensure_future(flights.run("k", work))
    await turns()
    work.go.set()
    assert (await second).value == "v"
    assert first.cancelled()
    assert work.begun == 2


async def test_each_caller_leaves_at_its_own_deadline():
    flights, work = SingleFlight(), Work("v")
    patient = asyncio.ensure_future(flights.run("k", work))
    await turns()
    with current.entered(deadline=Deadline.after(0.01)), pytest.raises(DeadlineExceededError, match="identical call"):
        await flights.run("k", work)
    work.go.set()
    assert (await patient).value == "v"
    assert work.cancelled == 0


async def test_want_of_the_first_ones_time_is_not_the_others_failure():
    flights, work = SingleFlight(), Work(DeadlineExceededError("the first one's time"), "v")
    callers = [asyncio.ensure_future(flights.run("k", work)) for _ in range(3)]
    await turns()
    work.go.set()
    ended = await asyncio.gather(*callers, return_exceptions=True)
    assert isinstance(ended[0], DeadlineExceededError)
    assert [entry.value for entry in ended[1:]] == ["v", "v"]
    assert work.begun == 2


async def test_after_a_retryable_failure_those_who_joined_try_once_more_between_them():
    flights, work = SingleFlight(), Work(ProviderUnavailableError("first"), ProviderUnavailableError("second"), "third")
    callers = [asyncio.ensure_future(flights.run("k", work)) for _ in range(4)]
    await turns()
    work.go.set()
    ended = await asyncio.gather(*callers, return_exceptions=True)
    assert [str(error) for error in ended] == ["first", "second", "second", "second"]
    assert work.begun == 2


async def test_a_failure_that_would_repeat_goes_to_all():
    flights, work = SingleFlight(), Work(RequestRejectedError("no"))
    callers = [asyncio.ensure_future(flights.run("k", work)) for _ in range(3)]
    await turns()
    work.go.set()
    ended = await asyncio.gather(*callers, return_exceptions=True)
    assert [str(error) for error in ended] == ["no"] * 3
    assert work.begun == 1


async def test_beyond_the_bound_a_call_does_its_own_work():
    flights, work = SingleFlight(max_flights=1), Work("v")
    callers = [asyncio.ensure_future(flights.run(key, work)) for key in "abb"]
    await turns()
    work.go.set()
    assert [entry.is_shared for entry in await asyncio.gather(*callers)] == [False] * 3
    assert (work.begun, flights.statistics().alone) == (3, 2)


async def test_closing_ends_flights_and_tells_those_who_wait():
    flights, work = SingleFlight(), Work("v")
    caller = asyncio.ensure_future(flights.run("k", work))
    await turns()
    await flights.close()
    await flights.close()
    with pytest.raises(RefusedError, match="closed"):
        await caller
    assert work.cancelled == 1


async def test_the_work_runs_in_the_scope_of_who_started_it():
    flights = SingleFlight()

    async def work() -> str | None:
        await asyncio.sleep(0)
        return current.scope().phase

    with current.entered(phase="reporting"):
        assert (await flights.run("k", work)).value == "reporting"
