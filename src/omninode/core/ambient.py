"""The runtime for code that was handed none: the open one, or one opened now.

`PerformanceOptimizer()` has to find a database somewhere. Every part that was made without arguments asks here, when
its first awaited call needs something, and gets

1. the runtime of the scope it runs in (`async with omninode.open()` enters one; a test enters its own), or else
2. the one runtime of the running event loop, opened from the environment by whoever asked first.

That runtime lives in a task of its own, outside of the scope, deadline and cancellation of the caller. It is closed by
`shutdown()`, or with the loop: `asyncio.run` cancels the task, and the task closes what it opened. It hangs on the
loop, because its connections do; so nothing is kept in this module and nothing is shared between threads.

Opening needs `omninode.runtime`, many floors above. It is imported by name at the moment of the call, and here alone:
the rooms below it stay usable, and importable, without it. The other way, an opener that the upper room registers when
it is imported, would be a global that is there or not depending on who imported what before.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from importlib import import_module
from typing import Any

from omninode.core import current
from omninode.core.errors import OmniNodeError

__all__ = ["find", "runtime", "shutdown"]

_ATTRIBUTE = "_omninode_runtime"


# Any, here and below: the Runtime belongs to a room above this one, which may not be named here.
def find() -> Any:
    """The runtime of the scope, or the one this loop has opened; None when there is neither. Opens nothing."""
    known = current.scope().runtime
    if known is not None:
        return known
    keeper = _keeper()
    return keeper.found if keeper is not None else None


async def runtime() -> Any:
    """The runtime of the scope, or that of this loop, opened from the environment when nobody has yet.

    It is opened without a model where none is configured, and without its database where that is away; what needs
    one says so. Raises ConfigurationError when the settings are wrong. Callers that ask at once wait for one opening,
    and a caller that is cancelled leaves it to the others.
    """
    known = current.scope().runtime
    if known is not None:
        return known
    keeper = _keeper()
    if keeper is None:
        loop = asyncio.get_running_loop()
        keeper = _Keeper(loop)
        setattr(loop, _ATTRIBUTE, keeper)
    return await keeper.opened()


async def shutdown() -> None:
    """Close the runtime that this loop has opened by itself: what is on its way is written first.

    Harmless when there is none. The next call that needs a runtime opens another.
    """
    keeper = _keeper()
    if keeper is not None:
        await keeper.close()


def _keeper() -> _Keeper | None:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return None
    keeper: _Keeper | None = getattr(loop, _ATTRIBUTE, None)
    return keeper if keeper is not None and keeper.is_alive else None


class _Keeper:
    """Holds one runtime open in a task of its own."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.found: Any = None
        self._leave = asyncio.Event()
        self._ready: asyncio.Future[None] = loop.create_future()
        # An empty context: the runtime must outlive the run, the deadline and the task of whoever came first.
        self._task = loop.create_task(self._hold(), name="omninode: runtime of the loop", context=Context())

    @property
    def is_alive(self) -> bool:
        return not self._leave.is_set() and not self._task.done()

    async def opened(self) -> Any:
        if self.found is not None:
            return self.found
        # Unlike awaiting the task, this leaves it alone when the caller is cancelled.
        await asyncio.wait({self._task, self._ready}, return_when=asyncio.FIRST_COMPLETED)
        if self._task.cancelled():
            raise OmniNodeError("the runtime was shut down while it was being opened; make the call again")
        if self._task.done():
            self._task.result()
        return self.found

    async def close(self) -> None:
        self._leave.set()
        if not self._ready.done():
            self._task.cancel()
        await asyncio.wait({self._task})
        if not self._task.cancelled():
            self._task.result()

    async def _hold(self) -> None:
        async with import_module("omninode.runtime.runtime").open_runtime(needs_models=False) as node:
            self.found = node
            self._ready.set_result(None)
            try:
                await self._leave.wait()
            finally:
                self.found = None
