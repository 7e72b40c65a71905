"""Deadlines: narrowed, never widened; a passed one is told apart from a cancellation."""

from __future__ import annotations

import asyncio
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omninode.core import current
from omninode.core.deadline import Deadline, within
from omninode.core.errors import DeadlineExceededError, InvalidArgumentError
from omninode.testing.clock import FakeClock

pytestmark = pytest.mark.unit


def test_remaining_never_falls_below_zero() -> None:
    clock = FakeClock()
    deadline = Deadline.after(2, clock=clock)
    clock.advance(5)
    assert deadline.remaining() == 0.0
    assert deadline.has_passed


def test_a_limited_scope_is_what_replace_makes_of_it() -> None:
    """`limited` names every field by hand, for speed: one that is added must not be lost on the way in."""
    every = current.Scope(**{entry.name: object() for entry in fields(current.Scope)})  # type: ignore[arg-type]
    deadline = Deadline.after(2, clock=FakeClock())
    inner = every.limited(deadline=deadline, retry_owner="me")
    assert inner == replace(every, deadline=deadline, retry_owner="me")


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=6))
def test_nested_scopes_keep_the_earliest_deadline(lengths: list[float]) -> None:
    clock = FakeClock()

    def nest(rest: list[float]) -> float:
        if not rest:
            effective = current.scope().deadline
            assert effective is not None
            return effective.at
        with current.entered(deadline=Deadline.after(rest[0], clock=clock)):
            return nest(rest[1:])

    assert nest(lengths) == clock.monotonic() + min(lengths)
    assert current.scope().deadline is None


@pytest.mark.parametrize("seconds", [-1, float("nan")])
def test_an_impossible_length_is_refused(seconds: float) -> None:
    with pytest.raises(InvalidArgumentError):
        Deadline.after(seconds)


async def test_within_names_what_was_not_finished() -> None:
    with pytest.raises(DeadlineExceededError, match="reading the moon"):
        async with within(Deadline.after(0.01), doing="reading the moon"):
            await asyncio.sleep(5)


async def test_within_does_not_begin_when_no_time_is_left() -> None:
    clock = FakeClock()
    deadline = Deadline.after(1, clock=clock)
    clock.advance(1)
    begun = False
    with pytest.raises(DeadlineExceededError, match="no time was left"):
        async with within(deadline, doing="work"):
            begun = True
    assert not begun


async def test_a_cancellation_from_outside_stays_one() -> None:
    async def work() -> None:
        async with within(Deadline.after(60), doing="work"):
            await asyncio.Event().wait()

    task = asyncio.ensure_future(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_timeout_of_the_body_is_not_taken_for_the_deadline() -> None:
    with pytest.raises(TimeoutError, match="its own") as caught:
        async with within(Deadline.after(60), doing="work"):
            raise TimeoutError("its own")
    assert not isinstance(caught.value, DeadlineExceededError)


async def test_without_a_deadline_the_body_just_runs() -> None:
    async with within(None, doing="work"):
        assert current.scope().deadline is None


@given(st.floats(0, 1e9))
def test_what_remains_travels_as_a_header_and_is_never_more_on_the_other_side(seconds: float) -> None:
    clock = FakeClock()
    deadline = Deadline.after(seconds, clock=clock)
    there = Deadline.from_header(deadline.header(), clock=clock)
    assert deadline.remaining() - 0.002 <= there.remaining() <= deadline.remaining() + 1e-6


@pytest.mark.parametrize("value", ["", "-5", "1.5", "1e9", "soon", "٣", "9" * 13, "5;6"])
def test_a_header_that_is_no_number_of_milliseconds_is_refused(value: str) -> None:
    with pytest.raises(InvalidArgumentError, match="x-deadline-ms"):
        Deadline.from_header(value)
