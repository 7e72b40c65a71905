"""What goes into the audit log, and how it gets there: as a ledger row of the spool, synced to disk at once.

It is put down although the database is away, and is chained there, in `storage.audit`, when it arrives.
"""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import orjson

from omninode.core.events import Audited, BreakerChanged, Event
from omninode.runtime.database import spool_directory
from omninode.runtime.paths import data_directory
from omninode.runtime.settings import Settings, load_settings
from omninode.storage.spool import Spool
from omninode.telemetry.redact import redact

__all__ = ["AuditTrail", "audit_row", "configuration_used", "record"]

_TABLE = "audit_log"


def audit_row(event: Audited) -> dict[str, Any]:  # Any: JSON values, as the spool takes them
    """The row that keeps `event`, without secrets: its id, and the entry as JSON text with sorted keys."""
    entry = {
        "id": str(event.id),
        "at": datetime.fromtimestamp(event.at_ns / 1e9, tz=UTC).isoformat(timespec="microseconds"),
        "action": event.action,
        "target": event.target,
        "actor": event.actor or _user(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "version": version("omninode"),
        "run_id": str(event.run_id) if event.run_id else None,
        "detail": dict(event.detail),
    }
    text = orjson.dumps(_storable(redact(entry)), option=orjson.OPT_SORT_KEYS).decode()
    return {"id": str(event.id), "entry": text}


class AuditTrail:
    """An `EventSink` that keeps what is to be provable later, and leaves everything else alone.

    It is attached beside the bus, not to it, because a bus that is full drops. Emitting appends to a file.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self.refused = 0

    def emit(self, event: Event) -> None:
        """Keep `event` when it is of that kind; what the spool has no room for is counted there and here."""
        if isinstance(event, BreakerChanged) and event.is_by_hand:
            event = Audited(
                id=event.id,
                at_ns=event.at_ns,
                run_id=event.run_id,
                action=f"breaker.{event.after}",
                target=event.breaker,
                detail={"before": event.before, "reason": event.reason},
            )
        if isinstance(event, Audited) and not self._spool.put(_TABLE, audit_row(event)):
            self.refused += 1


def configuration_used(settings: Settings, *, target: str) -> Audited:
    """The settings that are not the defaults, each with where it came from, secrets masked."""
    given = [
        {"variable": line.variable, "value": line.value, "origin": line.origin}
        for line in settings.lines()
        if line.origin != "default"
    ]
    declared = {
        name: [entry.name for entry in getattr(settings, name)] for name in ("deployments", "agents", "sources")
    }
    spool = settings.spool.model_dump(mode="json", exclude_defaults=True)
    return Audited(action="configuration.used", target=target, detail={"settings": given, **declared, "spool": spool})


async def record(action: str, *, target: str, detail: Iterable[tuple[str, object]] = ()) -> None:
    """Put down what a command does, and return when that would survive a power cut.

    For commands without an open runtime: the row waits in the spool for who next opens the database. Raises SpoolError
    when it cannot be kept.
    """
    settings = load_settings()
    spool = Spool(spool_directory(settings, data_directory(settings)), config=settings.spool.config())
    try:
        await spool.put_ledger(_TABLE, audit_row(Audited(action=action, target=target, detail=dict(detail))))
    finally:
        spool.close()


def _user() -> str:
    number = os.getuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _storable(value: Any) -> Any:  # Any: what `redact` gives, JSON but for lone surrogates and NUL
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_storable(key): _storable(item) for key, item in value.items()}
    return [_storable(item) for item in value] if isinstance(value, list) else value
