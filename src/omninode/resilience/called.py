"""Calling what may be a coroutine function or a plain one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import isawaitable
from types import CoroutineType
from typing import ParamSpec, TypeVar

__all__ = ["called"]

P = ParamSpec("P")
T = TypeVar("T")


async def called(func: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """What `func(*args, **kwargs)` returns, awaited where it is to be; a plain function runs as it is."""
    result = func(*args, **kwargs)
    if result.__class__ is CoroutineType or isawaitable(result):
        return await result
    return result
