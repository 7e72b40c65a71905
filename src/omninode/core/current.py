"""The one context variable: what the code now running is part of.

A `Scope` flows into every task started inside it, so a model call deep in an agent knows its run, phase and deadline
without ten parameters. Entering a scope only ever narrows the deadline.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, cast
from uuid import UUID

if TYPE_CHECKING:
    from omninode.core.deadline import Deadline

__all__ = ["Derived", "Limits", "Scope", "drop", "enter", "entered", "held", "hold", "leave", "scope"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What the running code is part of; every field may be unknown (None)."""

    # Any: the open Runtime belongs to a room above this one, which may not be named here.
    runtime: Any = None
    run_id: UUID | None = None
    phase: str | None = None
    task_id: str | None = None
    agent_id: str | None = None
    deadline: Deadline | None = None
    retry_owner: str | None = None
    span_id: UUID | None = None

    def limited(self, *, deadline: Deadline | None, retry_owner: str | None) -> Scope:
        """This scope with another deadline and retry owner; the same as `replace`, at half its price."""
        return Scope(
            runtime=self.runtime,
            run_id=self.run_id,
            phase=self.phase,
            task_id=self.task_id,
            agent_id=self.agent_id,
            deadline=deadline,
            retry_owner=retry_owner,
            span_id=self.span_id,
        )


class Limits(Protocol):
    """What a policy puts on the scope of its calls, the same for all of them."""

    def narrow(self, outer: Scope, at: float) -> Scope:
        """`outer` with the deadline `at` (on the policy's clock) and the policy's retry owner."""
        ...


Derived = tuple[Scope, Limits, float]
"""A scope that is made when somebody asks for it: an outer one, the limits that narrow it, the moment it ends.

Most calls never ask, and making a scope and a deadline costs more than the rest of a protected call. A plain tuple for
the same reason.
"""

_NOWHERE = Scope()
_scope: ContextVar[Scope] = ContextVar("omninode_scope", default=_NOWHERE)

# For paths counted in nanoseconds, where `scope`, `enter` and `leave` are the readable forms: what stands for the
# scope, made or not; to put another in its place; to go back.
held = cast("Callable[[], Scope | Derived]", _scope.get)
hold = cast("Callable[[Scope | Derived], Token[Scope]]", _scope.set)
drop = _scope.reset


def scope() -> Scope:
    """The scope of the running code; all fields None outside of any."""
    found = held()
    if isinstance(found, Scope):
        return found
    outer, limits, at = found
    made = limits.narrow(outer, at)
    # Kept for the next who asks; leaving goes back to what was before `found` all the same.
    _scope.set(made)
    return made


def enter(inner: Scope) -> Token[Scope]:
    """Make `inner` the scope until `leave`; for paths counted in nanoseconds, where `entered` is the readable form.

    `leave` must run in the same task. The caller narrows the deadline itself.
    """
    return _scope.set(inner)


def leave(token: Token[Scope]) -> None:
    """Return to the scope that was current before the `enter` that gave `token`."""
    _scope.reset(token)


@contextmanager
def entered(*, deadline: Deadline | None = None, **fields: Any) -> Iterator[Scope]:
    """Run the body in the current scope with `fields` replaced; the deadline becomes the earlier of the two."""
    outer = scope()
    inner = replace(outer, deadline=_earlier(outer.deadline, deadline), **fields)
    token = _scope.set(inner)
    try:
        yield inner
    finally:
        _scope.reset(token)


def _earlier(outer: Deadline | None, inner: Deadline | None) -> Deadline | None:
    if outer is None or inner is None:
        return inner if outer is None else outer
    return outer.narrowed(inner)
