"""A thread that works for long lets the event loop run; nothing else is slowed down."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from omninode.core.clock import SystemClock
from omninode.core.deadline import Deadline
from omninode.validation.injection import make_ready
from omninode.validation.pace import Pace
from omninode.validation.policy import ValidationPolicy
from omninode.validation.validator import InputValidator

pytestmark = pytest.mark.unit


def test_without_a_deadline_it_is_never_late():
    assert not Pace().is_late
    assert Pace(deadline=Deadline.after(0.0, clock=SystemClock())).is_late


@pytest.mark.parametrize(
    ("prompt", "tasks", "items"),
    [
        ("Tell me about roofs. " * 200, None, None),
        ("Do it", [{"id": f"t{n}", "agent": "a", "description": "Write it down"} for n in range(200)], None),
        ("Do it", None, ["The roof is made of slate. " * 200]),
    ],
    ids=["prompt", "tasks", "items"],
)
async def test_the_loop_runs_while_a_large_input_is_looked_at(prompt, tasks, items):
    turns = 0
    is_over = asyncio.Event()

    async def count():
        nonlocal turns
        while not is_over.is_set():
            turns += 1
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        group.create_task(count())
        report = await InputValidator().validate_and_sanitize(prompt, tasks, items)
        is_over.set()
    assert report.is_valid
    assert turns > 1


async def test_a_small_input_is_looked_at_at_once_in_the_same_thread():
    make_ready()
    before = threading.active_count()
    coroutine = InputValidator(ValidationPolicy(thread_above_bytes=100)).validate_and_sanitize("Tell me about roofs")
    with pytest.raises(StopIteration) as stopped:
        coroutine.send(None)
    assert stopped.value.value.is_valid
    assert threading.active_count() == before


@pytest.mark.parametrize("flag_score", ["0.05", "0.35"])
def test_the_first_text_of_a_process_leaves_the_loop_to_others_while_rules_and_model_are_read(flag_score):
    told = subprocess.run([sys.executable, "-c", _FIRST, flag_score], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["in", "a", "thread,", "then", "at", "once"]


_FIRST = """
import asyncio, sys
from omninode.validation.policy import ValidationPolicy
from omninode.validation.validator import InputValidator

validator = InputValidator(ValidationPolicy(flag_score=float(sys.argv[1])))

async def is_at_once():
    work = asyncio.ensure_future(validator.validate_and_sanitize("Tell me about roofs"))
    await asyncio.sleep(0)
    is_done = work.done()
    assert (await work).is_valid
    return is_done

async def main():
    print("at once" if await is_at_once() else "in a thread, then", "at once" if await is_at_once() else "in a thread")

asyncio.run(main())
"""
