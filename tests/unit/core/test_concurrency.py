"""Fan-out: order, limits, deadlines, early stop, and no task left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from omninode.core.concurrency import gather_settled, map_bounded, race
from omninode.core.deadline import Deadline
from omninode.core.errors import DeadlineExceededError, InvalidArgumentError

pytestmark = pytest.mark.unit


def value(result: object, *, turns: int = 0) -> Callable[[], Awaitable[object]]:
    async def call() -> object:
        for _ in range(turns):
            await asyncio.sleep(0)
        return result

    return call


def failing(error: Exception) -> Callable[[], Awaitable[object]]:
    async def call() -> object:
        raise error

    return call


async def forever() -> object:
    await asyncio.Event().wait()
    return None


def others() -> set[asyncio.Task[object]]:
    return asyncio.all_tasks() - {asyncio.current_task()}


async def test_results_keep_the_order_of_the_calls() -> None:
    settled = await gather_settled([value("slow", turns=5), value("quick"), value("middle", turns=2)])
    assert [entry.unwrap() for entry in settled] == ["slow", "quick", "middle"]


async def test_a_failure_is_reported_and_its_siblings_go_on() -> None:
    settled = await gather_settled([failing(ValueError("bad")), value(1, turns=3)])
    assert [entry.status for entry in settled] == ["failed", "ok"]
    with pytest.raises(ValueError, match="bad"):
        settled[0].unwrap()


async def test_no_more_than_the_limit_run_at_once() -> None:
    running, most = 0, 0

    async def count(_: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    await map_bounded(count, range(20), limit=3)
    assert most == 3


async def test_what_is_not_finished_at_the_deadline_is_late_and_cancelled() -> None:
    settled = await gather_settled([value("there"), forever], deadline=Deadline.after(0.02))
    assert [entry.status for entry in settled] == ["ok", "late"]
    with pytest.raises(DeadlineExceededError):
        settled[1].unwrap()
    assert others() == set()


async def test_calls_waiting_behind_the_limit_are_late_too_and_never_started() -> None:
    started = []

    async def note() -> object:
        started.append(1)
        return await forever()

    settled = await gather_settled([note, note, note], limit=1, deadline=Deadline.after(0.02))
    assert [entry.status for entry in settled] == ["late"] * 3
    assert len(started) == 1


async def test_stop_when_cancels_what_is_no_longer_needed() -> None:
    settled = await gather_settled(
        [value("yes"), forever], stop_when=lambda known: any(entry is not None for entry in known)
    )
    assert [entry.status for entry in settled] == ["ok", "stopped"]
    assert others() == set()


async def test_cancelling_the_caller_leaves_no_task() -> None:
    cleaned = asyncio.Event()

    async def stubborn() -> object:
        try:
            return await forever()
        finally:
            await asyncio.sleep(0.01)
            cleaned.set()

    outer = asyncio.ensure_future(gather_settled([stubborn, forever]))
    await asyncio.sleep(0.01)
    outer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await outer
    assert cleaned.is_set()
    assert others() == set()


async def test_a_call_that_cancels_itself_is_a_failure_of_its_own() -> None:
    async def suicidal() -> object:
        raise asyncio.CancelledError

    settled = await gather_settled([suicidal, value(1)])
    assert [entry.status for entry in settled] == ["failed", "ok"]


async def test_race_returns_the_first_success_and_cancels_the_rest() -> None:
    assert await race([failing(ValueError("no")), value("won", turns=2), forever]) == "won"
    assert others() == set()


async def test_race_raises_the_last_error_when_all_fail() -> None:
    with pytest.raises(KeyError):
        await race([failing(ValueError("first")), failing(KeyError("last"))])


async def test_nothing_to_do_is_an_empty_answer() -> None:
    assert await gather_settled([]) == []


async def test_a_limit_of_zero_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="limit is 0"):
        await gather_settled([value(1)], limit=0)
