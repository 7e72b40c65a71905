"""Timers that cost next to nothing when they do not fire, which is nearly always.

Calls that are due in the same step of time share one timer of the loop (a timing wheel): setting one is an entry in a
dictionary, ending it a removal. A timer is never early, and late by at most a step.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from time import monotonic
from typing import Any

__all__ = ["Wheel"]

# A step is this share of the limit, within these bounds: fine enough for a limit, few enough timers for the loop.
_STEPS = 100
_FINEST_STEP_S = 0.001
_COARSEST_STEP_S = 0.010
_MOST_STEPS = 10_000

# Any: what a task returns is not the business of the clock that ends it.
_Due = dict[object, asyncio.Task[Any]]


class Wheel:
    """The timers of one limit on one event loop; `seconds` is how far ahead they are usually set.

    An entry is any object that is in there once. One task may stand under several limits, so it is an entry itself only
    for who begins the step anew where the task is in there already. To set a timer put `entry: task` into
    `due.get(step)` or, where there is none, into `begin(step)`, with the step of `step`. To end it pop the entry; when
    it is gone already, the timer has fired and the task was cancelled once for it.
    """

    __slots__ = ("due", "latest", "latest_due", "loop", "now", "rate")

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self.loop = loop
        # The time of the loop, which sets the timers. The usual loops tell monotonic time, through one more call.
        is_usual = getattr(type(loop), "time", None) is asyncio.BaseEventLoop.time
        self.now: Callable[[], float] = monotonic if is_usual else loop.time
        length = min(_COARSEST_STEP_S, max(_FINEST_STEP_S, seconds / _STEPS))
        self.rate = 1.0 / max(length, seconds / _MOST_STEPS)
        self.due: dict[float, _Due] = {}
        # For who sets every timer equally far ahead: the step in which that is now, not a number when there is none.
        self.latest = math.nan
        self.latest_due: _Due = {}

    def step(self, seconds: float) -> float:
        """The number of the step in which `seconds` from now lies; it fires when that step ends."""
        return (self.now() + seconds) * self.rate // 1.0

    def begin(self, step: float) -> _Due:
        """An empty step, with its timer; one that stands there already keeps its own, and its entries."""
        due: _Due = {}
        self.due[step] = due
        self.loop.call_later((step + 1.0) / self.rate - self.now(), self._fire, step, due)
        return due

    def turn(self, step: float) -> None:
        """Begin `step` and make it the latest, the one in which timers are set until it fires."""
        self.latest_due = self.begin(step)
        self.latest = step

    def _fire(self, step: float, due: _Due) -> None:
        if self.due.get(step) is due:
            del self.due[step]
        if self.latest_due is due:
            self.latest = math.nan
        while due:
            _, task = due.popitem()
            task.cancel()
