"""The time one validation has, and how a thread that works for long lets the thread it works for have its turn.

Python hands over between threads every 5 ms; an event loop that waits so long is late for everything. A thread that
really sleeps for a moment hands over at once, and between two steps of work it is asked to.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from omninode.core.deadline import Deadline

__all__ = ["Pace"]

_EVERY_S = 0.0005
# Sleeping for nothing hands over only if the other thread is awake already.
_FOR_S = 0.00005


@dataclass(slots=True, kw_only=True)
class Pace:
    """Of one validation, in one thread.

    Attributes:
        deadline: when no more detector begins; None: never.
        is_in_thread: whether the work is done in a thread of its own, where pausing helps somebody.
    """

    deadline: Deadline | None = None
    is_in_thread: bool = False
    _paused_at: float = field(default=0.0, init=False)

    @property
    def is_late(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and self.deadline.has_passed

    def pause(self) -> None:
        """Sleep for a moment, in a thread whose last pause is half a millisecond ago; elsewhere nothing."""
        # Another thread's need of the processor is real, whatever clock the validation is told.
        if self.is_in_thread and time.perf_counter() - self._paused_at >= _EVERY_S:
            time.sleep(_FOR_S)  # noqa: TID251 - in a thread of its own
            self._paused_at = time.perf_counter()
