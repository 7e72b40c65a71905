"""A function that goes through a policy: same name, same signature, same kind."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from functools import wraps
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from typing import Any, Literal, ParamSpec, TypeVar

from omninode.core.errors import InvalidArgumentError

__all__ = ["Kind", "awaited", "blocking", "kind_of", "streamed"]

P = ParamSpec("P")
T = TypeVar("T")

Kind = Literal["async", "stream", "plain"]


# Any: anything may be decorated by mistake.
def kind_of(func: Any) -> Kind:
    """How `func` is to be called. Raises InvalidArgumentError for what cannot be called so at all."""
    if iscoroutinefunction(func):
        return "async"
    if isasyncgenfunction(func):
        return "stream"
    if isgeneratorfunction(func) or not callable(func) or isinstance(func, type):
        raise InvalidArgumentError(
            f"a policy decorates async functions, async generator functions and plain ones, and {func!r} is none"
        )
    return "plain"


# Any: see `Policy.call`, which types what goes in and comes out.
def awaited(call: Callable[..., Awaitable[Any]], func: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """`func`, made to go through `call`."""

    @wraps(func)
    async def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        value: T = await call(func, *args, **kwargs)
        return value

    return guarded


# Any: see `Policy.stream`.
def streamed(
    stream: Callable[..., AsyncGenerator[Any, None]], func: Callable[P, AsyncIterator[T]]
) -> Callable[P, AsyncGenerator[T, None]]:
    """`func`, made to go through `stream`."""

    @wraps(func)
    async def guarded(*args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[T, None]:
        async with aclosing(stream(func, *args, **kwargs)) as items:
            async for item in items:
                yield item

    return guarded


# Any: see `Policy.call_blocking`.
def blocking(call: Callable[..., Any], func: Callable[P, T]) -> Callable[P, T]:
    """`func`, made to go through `call`."""

    @wraps(func)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        value: T = call(func, *args, **kwargs)
        return value

    return guarded
