"""Policies inside one another: another order than the one a policy has.

A policy has one fixed order because it is right nearly always. Where it is not (a breaker around all the retries, a
rate that counts calls and not attempts, a deadline for each attempt of another policy) two policies say what is meant:
each attempt of the outer is a call of the inner.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from omninode.core import current
from omninode.core.errors import AttemptTimeoutError, DeadlineExceededError, InvalidArgumentError
from omninode.resilience.decorator import awaited, blocking, kind_of, streamed
from omninode.resilience.outcome import CallOutcome, PolicyStatistics
from omninode.resilience.ranges import require_methods
from omninode.resilience.stack import Part

if TYPE_CHECKING:
    from omninode.resilience.policy import Policy

__all__ = ["Chain"]

P = ParamSpec("P")
T = TypeVar("T")
# Any: a decorated function keeps whatever type it had.
F = TypeVar("F", bound=Callable[..., Any])


class Chain:
    """`policies`, outermost first, as one; made by `Policy.then`.

    The outermost policy that retries owns the retries: those inside it make one attempt for each of its own. A
    deadline inside can only be nearer than those outside. When it comes first, the policy outside sees an attempt that
    timed out (AttemptTimeoutError), which may be tried again in the time that is left.

    Raises InvalidArgumentError when a policy would be inside itself.
    """

    def __init__(self, *policies: Policy) -> None:
        for policy in policies:
            require_methods("Chain", "policy", policy, "call", "stream", "call_blocking", "guard")
        if len(set(map(id, policies))) < len(policies):
            raise InvalidArgumentError("a chain has a policy inside itself; make a second one for the second place")
        self.policies = policies
        self._outer = policies[0]
        self._inner = tuple(_Inside(policy) for policy in policies[1:])
        self._calls = tuple(inside.call for inside in self._inner)

    def then(self, other: Policy | Chain) -> Chain:
        """This chain, with `other` inside it."""
        return Chain(*self.policies, *(other.policies if isinstance(other, Chain) else (other,)))

    async def call(self, func: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """What `func(*args, **kwargs)` returns. Raises as `Policy.call` does, for each of the policies."""
        call: Part = self._outer.call
        return cast("T", await call(*self._calls, func, *args, **kwargs))

    async def outcome(self, func: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> CallOutcome[T]:
        """How the call ended, as the outermost policy sees it; raises only what cancels the caller.

        A value that a fallback inside served is not marked: for the policy outside it is the value.
        """
        outcome: Part = self._outer.outcome
        return cast("CallOutcome[T]", await outcome(*self._calls, func, *args, **kwargs))

    def call_blocking(self, func: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """What the plain function `func` returns. See `Policy.call_blocking`."""
        # Any: a policy is handed another one and that one's arguments, as in `stack.Part`.
        call: Callable[..., Any] = self._outer.call_blocking
        return cast("T", call(*(inside.call_blocking for inside in self._inner), func, *args, **kwargs))

    def stream(
        self, func: Callable[P, AsyncIterator[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> AsyncGenerator[T, None]:
        """The items of the async generator `func(*args, **kwargs)`. See `Policy.stream`."""
        # Any: see `call_blocking`.
        stream: Callable[..., Any] = self._outer.stream
        return cast(
            "AsyncGenerator[T, None]", stream(*(step.policy.stream for step in self._inner), func, *args, **kwargs)
        )

    @asynccontextmanager
    async def guard(self) -> AsyncIterator[None]:
        """Run the body within the guards of all the policies. See `Policy.guard`."""
        async with AsyncExitStack() as guards:
            for policy in self.policies:
                await guards.enter_async_context(policy.guard())
            yield

    def __call__(self, func: F) -> F:
        """Decorate a function: every call of it goes through this chain. See `Policy.__call__`."""
        kind = kind_of(func)
        if kind == "async":
            return cast("F", awaited(self.call, func))
        return cast("F", streamed(self.stream, func) if kind == "stream" else blocking(self.call_blocking, func))

    def statistics(self) -> tuple[PolicyStatistics, ...]:
        """Those of each policy, outermost first."""
        return tuple(policy.statistics() for policy in self.policies)

    def explain(self) -> str:
        """The policies outermost first, each with its parts in the order in which a call passes them."""
        told: list[str] = []
        owner: str | None = None
        for depth, policy in enumerate(self.policies):
            told.append(policy.name if not depth else f"inside each attempt of {self.policies[depth - 1].name!r}:")
            told += [f"  {line}" for line in policy.explain().splitlines()]
            if owner is not None and policy.retry.config.max_retries:
                told.append(f"  (one attempt here: {owner!r} owns the retries)")
            elif policy.retry.config.max_retries:
                owner = policy.name
        return "\n".join(told)


class _Inside:
    """A policy that is an attempt of another."""

    __slots__ = ("policy",)

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    async def call(self, func: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await self.policy.call(func, *args, **kwargs)
        except DeadlineExceededError as error:
            if self._is_over():
                raise
            raise self._late(error) from error

    def call_blocking(self, func: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return self.policy.call_blocking(func, *args, **kwargs)
        except DeadlineExceededError as error:
            if self._is_over():
                raise
            raise self._late(error) from error

    def _is_over(self) -> bool:
        deadline = current.scope().deadline
        return deadline is not None and deadline.has_passed

    def _late(self, error: DeadlineExceededError) -> AttemptTimeoutError:
        return AttemptTimeoutError(f"{self.policy.name}: its own deadline came before those outside it ({error})")
