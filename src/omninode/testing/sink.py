"""A sink that keeps what it is given."""

from __future__ import annotations

from typing import TypeVar

from omninode.core.events import Event

__all__ = ["RecordingSink"]

E = TypeVar("E", bound=Event)


class RecordingSink:
    """Keeps every event in `events`, in order."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        """Keep `event`."""
        self.events.append(event)

    def of(self, kind: type[E]) -> list[E]:
        """The events of one class, in order."""
        return [event for event in self.events if isinstance(event, kind)]
