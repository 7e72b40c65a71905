"""One event loop at a time: what waits for something on one loop cannot be woken from another."""

from __future__ import annotations

from asyncio import AbstractEventLoop, get_running_loop

from omninode.core.errors import InvalidArgumentError

__all__ = ["settled"]


def settled(name: str, before: AbstractEventLoop | None) -> AbstractEventLoop:
    """The loop that runs now. Raises InvalidArgumentError while `before`, which `name` was used on, still runs."""
    loop = get_running_loop()
    if before is not None and before is not loop and before.is_running():
        raise InvalidArgumentError(f"{name!r} is in use on another event loop that is running; make one for each loop")
    return loop
