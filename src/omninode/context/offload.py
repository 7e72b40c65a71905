"""CPU work beside the event loop, on a few threads, that stops when nobody waits for it any more.

A thread cannot be cancelled. The work is therefore handed a `Halt` and looks at it between steps: it is set when the
waiting task is cancelled, and passed when the deadline is.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from omninode.core.deadline import Deadline
from omninode.core.errors import DeadlineExceededError, InvalidArgumentError

__all__ = ["Halt", "Offload"]

T = TypeVar("T")


class Halt:
    """Tells work on a thread to stop. Safe from any thread."""

    __slots__ = ("_deadline", "_requested")

    def __init__(self, deadline: Deadline | None = None) -> None:
        self._deadline = deadline
        self._requested = threading.Event()

    def request(self) -> None:
        """Ask the work to stop."""
        self._requested.set()

    @property
    def is_requested(self) -> bool:
        """Whether nobody waits for the work any more."""
        return self._requested.is_set()

    @property
    def is_due(self) -> bool:
        """Whether the work should stop now."""
        return self._requested.is_set() or (self._deadline is not None and self._deadline.has_passed)

    def remaining(self) -> float | None:
        """Seconds the work has left; None without a deadline."""
        return None if self._deadline is None else self._deadline.remaining()

    def check(self, doing: str) -> None:
        """Raise DeadlineExceededError when the work should stop."""
        if self.is_due:
            raise DeadlineExceededError(f"{doing}: stopped before the end; allow more time")


class Offload:
    """Runs functions on at most `threads` threads, which start with the first call and end with `close`."""

    def __init__(self, *, threads: int = 2, name: str = "omninode-context") -> None:
        if threads < 1:
            raise InvalidArgumentError(f"threads is {threads}; allow at least one")
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix=name)

    async def run(self, function: Callable[[Halt], T], *, deadline: Deadline | None = None) -> T:
        """What `function` returns. A cancelled wait asks it to halt; a call still in the line is never begun."""
        halt = Halt(deadline)
        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._pool, lambda: context.run(function, halt))
        except asyncio.CancelledError:
            halt.request()
            raise

    def close(self) -> None:
        """Take no more work and drop what waits; running work ends at its next look at its `Halt`."""
        self._pool.shutdown(wait=False, cancel_futures=True)
