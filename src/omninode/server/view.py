"""The open runtime as the server sees it: reads what the pages show, does no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from omninode.runtime.runtime import Runtime
from omninode.server.node import BreakerView, SettingView, SharingView, SpoolView
from omninode.storage.database import Database
from omninode.telemetry.bus import EventBus

__all__ = ["RuntimeView"]


class RuntimeView:
    """A `Node` made of an open `Runtime`."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    @property
    def version(self) -> str:
        """See `Node.version`."""
        return self._runtime.version

    @property
    def is_simulated(self) -> bool:
        """See `Node.is_simulated`."""
        return self._runtime.is_simulated

    @property
    def database(self) -> Database | None:
        """See `Node.database`."""
        return self._runtime.database

    @property
    def bus(self) -> EventBus:
        """See `Node.bus`."""
        return self._runtime.bus

    def settings(self) -> Sequence[SettingView]:
        """See `Node.settings`; secrets come masked."""
        return [
            SettingView(name=line.variable, value=line.value, origin=line.origin)
            for line in self._runtime.settings.lines()
        ]

    def breakers(self) -> Sequence[BreakerView]:
        """See `Node.breakers`."""
        return [
            BreakerView(
                name=breaker.name,
                state=str(breaker.state.value),
                failures=breaker.failures,
                reason=breaker.reason,
                retry_after_s=breaker.retry_after_s,
            )
            for breaker in self._runtime.breakers.statistics()
        ]

    def sharing(self) -> SharingView | None:
        """See `Node.sharing`."""
        told = self._runtime.peers.statistics()
        return SharingView(
            mode=told.mode,
            heard=told.heard,
            sensitised=told.sensitised,
            failures=told.failures,
            last_error=told.last_error,
        )

    def spool(self) -> SpoolView | None:
        """See `Node.spool`."""
        spool, flusher = self._runtime.road.spool.statistics(), self._runtime.road.flusher.statistics()
        return SpoolView(
            accepted=spool.accepted,
            written=flusher.written,
            waiting=spool.waiting,
            dead=flusher.dead,
            only_in_memory=spool.only_in_memory,
            dropped=self._runtime.road.dropped(),
            disk_error=spool.disk_error,
        )

    def resources(self) -> Mapping[str, float]:
        """See `Node.resources`."""
        return self._runtime.monitor.snapshot().values()
