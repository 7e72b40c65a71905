"""An event loop on which waiting costs nothing: when everything waits, its time jumps to the next timer.

Whatever asks the loop for its time, its timers and its sleeps (`asyncio.sleep`, `asyncio.timeout`, a `VirtualClock`)
lives on one virtual time, so an hour of waits, breaks and deadlines is run through in seconds, in the order in which
it would have happened. Code that asks `time.monotonic` by itself is not fooled: give it the clock.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from omninode.core.errors import InvalidArgumentError, OmniNodeError

__all__ = ["StalledError", "VirtualClock", "VirtualLoop", "run_virtual"]

T = TypeVar("T")

_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
# How long, in real seconds, a loop without timers waits for a thread or a socket before it calls itself stalled.
_STALLED_S = 5.0
# The loop's own wake-up pipe is always registered.
_OWN_FILES = 1


class StalledError(OmniNodeError):
    """Everything waits and nothing is left that could end a wait."""


class _JumpingSelector(selectors.DefaultSelector):
    """Waits for files as any selector, except that a wait with an end is not waited for but added to `now`."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.now = start

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            ready = super().select(_STALLED_S)
            if not ready:
                raise StalledError(
                    "the virtual loop has no timer, and nothing came from a thread or a file; something awaits what "
                    "nobody will finish"
                )
            return ready
        ready = super().select(0) if len(self.get_map()) > _OWN_FILES else []
        if not ready and timeout > 0:
            self.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module. `start` is the time it begins at; threads and sockets work, in no time at all."""

    def __init__(self, *, start: float = 1000.0) -> None:
        self._jumping = _JumpingSelector(start)
        super().__init__(self._jumping)

    def time(self) -> float:
        """Seconds on the virtual time."""
        return self._jumping.now


class VirtualClock:
    """The `Clock` of a virtual loop."""

    __slots__ = ("_start", "monotonic")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        if not isinstance(loop, VirtualLoop):
            raise InvalidArgumentError(f"a virtual clock shows the time of a VirtualLoop, and {loop!r} is none")
        # Bound once: it is asked several times a call.
        self.monotonic: Callable[[], float] = loop.time
        self._start = loop.time()

    def now(self) -> datetime:
        """A moment in UTC that moves with `monotonic`."""
        return _EPOCH + timedelta(seconds=self.monotonic() - self._start)

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds` of virtual time."""
        await asyncio.sleep(max(0.0, seconds))


# Any: what a coroutine is sent and yields is between it and the loop.
def run_virtual(main: Callable[[VirtualClock], Coroutine[Any, Any, T]]) -> T:
    """What `main(clock)` returns, run on a virtual loop of its own; raises InvalidArgumentError inside a running loop."""
    if _is_running():
        raise InvalidArgumentError("run_virtual was called inside a running loop; call it in a thread of its own")

    async def entered() -> T:
        return await main(VirtualClock(asyncio.get_running_loop()))

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(entered())


def _is_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
