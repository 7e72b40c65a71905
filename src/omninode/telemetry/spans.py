"""Timed stretches of code that nest: `with span(sink, "rank"): …`.

A span costs a few microseconds and goes the way of all events, as the metric `span_duration_ms`, whose labels say
its name, its id and the id of the span around it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import Token
from dataclasses import replace
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from omninode.core import current
from omninode.core.clock import Clock, SystemClock
from omninode.core.events import EventSink, MetricRecorded
from omninode.core.ids import uuid7

__all__ = ["SPAN_METRIC", "Span", "span"]

SPAN_METRIC = "span_duration_ms"
_CLOCK = SystemClock()


class Span:
    """One stretch of code; use `span` to make it, and `note` to add labels while it runs."""

    __slots__ = ("_clock", "_labels", "_parent_id", "_sink", "_started", "_token", "id", "name")

    def __init__(self, sink: EventSink, name: str, *, clock: Clock, labels: Mapping[str, Any]) -> None:
        self.id = uuid7()
        self.name = name
        self._sink = sink
        self._clock = clock
        self._labels = dict(labels)
        self._started = 0.0
        self._parent_id: UUID | None = None
        self._token: Token[current.Scope] | None = None

    def note(self, **labels: Any) -> None:  # Any: labels as JSON can hold them
        """Add labels to what will be emitted."""
        self._labels.update(labels)

    def __enter__(self) -> Self:
        scope = current.scope()
        self._parent_id = scope.span_id
        self._token = current.enter(replace(scope, span_id=self.id))
        self._started = self._clock.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        duration_ms = (self._clock.monotonic() - self._started) * 1000
        if self._token is not None:
            current.leave(self._token)
            self._token = None
        scope = current.scope()
        labels = {**self._labels, "name": self.name, "span_id": str(self.id)}
        if self._parent_id is not None:
            labels["parent_id"] = str(self._parent_id)
        if kind is not None:
            labels["error_class"] = kind.__name__
        self._sink.emit(
            MetricRecorded(
                id=self.id,
                run_id=scope.run_id,
                phase=scope.phase,
                metric=SPAN_METRIC,
                value=duration_ms,
                ok=kind is None,
                labels=labels,
            )
        )


def span(
    sink: EventSink,
    name: str,
    *,
    clock: Clock | None = None,
    **labels: Any,  # Any: labels as JSON can hold them
) -> Span:
    """A context manager that times its body as `name` and emits it to `sink`; a raising body is marked, not swallowed."""
    return Span(sink, name, clock=clock or _CLOCK, labels=labels)
