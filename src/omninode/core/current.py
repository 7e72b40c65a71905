"""The one context variable: what the code now running is part of.

A `Scope` flows into every task started inside it, so a model call deep in an agent knows its run, phase and deadline
without ten parameters. Entering a scope only ever narrows the deadline.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from omninode.core.deadline import Deadline

__all__ = ["Scope", "enter", "entered", "leave", "scope"]


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
        )


_NOWHERE = Scope()
_scope: ContextVar[Scope] = ContextVar("omninode_scope", default=_NOWHERE)


def scope() -> Scope:
    """The scope of the running code; all fields None outside of any."""
    return _scope.get()


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
    outer = _scope.get()
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
