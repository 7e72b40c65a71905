"""Grouping failures: one fingerprint for all errors that have one cause.

The type and the path through our own code say most (line numbers change with every edit, so they are left out);
without such a path the message does, once everything that varies in it is masked.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from omninode.core import current
from omninode.core.errors import OmniNodeError
from omninode.core.events import ErrorOccurred, EventSink
from omninode.core.ids import stable_hash
from omninode.telemetry.redact import redact

__all__ = ["FINGERPRINT_VERSION", "error_event", "fingerprint", "mask", "tell_error"]

FINGERPRINT_VERSION = "1"
_IN_APP = ("omninode",)
_MAX_CAUSES = 5
_TOLD = "omninode_was_told"
_MASKS = (
    (re.compile(r"\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b"), "<uuid>"),
    (re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s'\"<>]+", re.IGNORECASE), "<url>"),
    (re.compile(r"\b[\w.+-]+@[\w-]+\.[\w.-]+\b"), "<email>"),
    (re.compile(r"(?<![\w<])(?:~|\.{1,2})?/[\w.@+-]+(?:/[\w.@+-]*)*"), "<path>"),
    (re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b"), "<address>"),
    (re.compile(r"(?<!\w)'[^']*'|\"[^\"]*\"|`[^`]*`"), "<text>"),
    (re.compile(r"\b0x[0-9a-fA-F]+\b|\b(?=\d*[a-fA-F])(?=[a-fA-F]*\d)[0-9a-fA-F]{8,}\b"), "<hex>"),
    (re.compile(r"\b(?:[a-z0-9-]+\.)+[a-z]{2,}(?::\d+)?\b", re.IGNORECASE), "<host>"),
    (re.compile(r"\d+(?:[.,]\d+)*"), "<n>"),
)


def fingerprint(error: BaseException, *, in_app: tuple[str, ...] = _IN_APP) -> str:
    """Sixteen hex digits, equal for errors of one type that came the same way through the packages `in_app`.

    The chain of causes counts too. An error that passed through none of those packages is told by its type and
    message template.
    """
    parts = [FINGERPRINT_VERSION]
    for link in _chain(error):
        frames = list(_frames(link, in_app))
        parts.append(_type_name(link))
        parts.extend(frames or [mask(str(link))])
    return stable_hash(*parts)[:16]


def mask(message: str) -> str:
    """`message` with ids, addresses, paths, quoted text and numbers replaced by what they are; at most 500 long."""
    for pattern, name in _MASKS:
        message = pattern.sub(name, message)
    return " ".join(message.split())[:500]


def tell_error(
    sink: EventSink,
    error: BaseException,
    *,
    where: str,
    attempt: int = 1,
    context: Mapping[str, Any] | None = None,  # Any: see `error_event`
) -> None:
    """Emit `error`, unless it was told before, or one that it was raised from: one cause is one event.

    So every place that meets a failure may tell it; the first one, which is nearest to the cause, knows most.
    """
    if any(getattr(link, _TOLD, False) for link in _chain(error)):
        return
    with suppress(AttributeError):  # a class of others may forbid new attributes
        setattr(error, _TOLD, True)
    sink.emit(error_event(error, where=where, attempt=attempt, context=context))


def error_event(
    error: BaseException,
    *,
    where: str = "",
    attempt: int = 1,
    context: Mapping[str, Any] | None = None,  # Any: labels of the place, as JSON can hold them
) -> ErrorOccurred:
    """The event that tells `error`, with its fingerprint; run and phase come from the current scope.

    Message and context are redacted here, so that no consumer ever sees a secret.
    """
    scope = current.scope()
    labels = dict(context or {})
    # Redacted first: a mask would break a secret into pieces that no pattern knows any more.
    message = redact(str(error) or type(error).__name__)[:4000]
    labels.setdefault("template", mask(message))
    labels.setdefault("frames", list(_frames(error, _IN_APP))[-8:])
    if scope.task_id:
        labels.setdefault("task_id", scope.task_id)
    if scope.agent_id:
        labels.setdefault("agent_id", scope.agent_id)
    return ErrorOccurred(
        run_id=scope.run_id,
        phase=scope.phase,
        error_class=type(error).__name__,
        message=message,
        fingerprint=fingerprint(error),
        retryable=error.retryable if isinstance(error, OmniNodeError) else False,
        attempt=attempt,
        where=where,
        context=redact(labels),
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen and len(seen) < _MAX_CAUSES:
        seen.add(id(link))
        yield link
        # Only what was raised "from": the implicit context depends on what else happened to be handled.
        link = link.__cause__


def _frames(error: BaseException, in_app: tuple[str, ...]) -> Iterator[str]:
    for frame, _ in traceback.walk_tb(error.__traceback__):
        module = str(frame.f_globals.get("__name__", ""))
        if module.partition(".")[0] in in_app:
            yield f"{module}:{frame.f_code.co_name}"


def _type_name(error: BaseException) -> str:
    kind = type(error)
    return f"{kind.__module__}.{kind.__qualname__}"
