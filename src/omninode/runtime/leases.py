"""Which runs are in progress on this machine, so that one whose process died does not look alive for ever.

Every run holds a locked file while it lasts. The kernel gives the lock up when the process dies, however it dies; who
comes next finds the file free, and the run's row still saying "running".
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from uuid import UUID

from omninode.core.errors import OmniNodeError
from omninode.core.events import Event, RunFinished, RunStarted
from omninode.storage.database import Database
from omninode.storage.lanes import Lane
from omninode.storage.lease import FileLock
from omninode.telemetry.bus import EventBus

__all__ = ["RunLeases"]

_WHY = "the process that ran it was killed"


class RunLeases:
    """Holds a lease for each run from its start to its end, as the bus tells of them; closing twice is harmless."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._held: dict[UUID, FileLock] = {}

    def follow(self, bus: EventBus) -> None:
        """Take leases and give them up as runs start and end.

        To be called before the consumer that stores rows subscribes: a row that says "running" must find the lease
        taken, or another process that looks in between believes the run to be dead.
        """
        bus.subscribe(self.note, name="leases", kinds=(RunStarted, RunFinished))

    def note(self, event: Event) -> None:
        """Take or give up the lease of the run that `event` is about. Touches files; never raises."""
        if event.run_id is None:
            return
        # Without a lease a killed run stays "running" in the history; no reason to fail the run that can be made.
        with suppress(OSError):
            if isinstance(event, RunStarted):
                self._take(event.run_id)
            elif isinstance(event, RunFinished) and event.run_id in self._held:
                self._held.pop(event.run_id).release(remove=True)

    def _take(self, run_id: UUID) -> None:
        self._directory.mkdir(mode=0o700, exist_ok=True)
        # Locked under a name nobody looks for: under its own it is never seen free while the run lasts.
        lease = FileLock(self._directory / f".{run_id}")
        if lease.try_acquire():
            lease.path = lease.path.rename(self._directory / str(run_id))
            self._held[run_id] = lease

    async def mark_lost(self, database: Database) -> int:
        """Mark the runs of dead processes as lost; how many leases of theirs were cleared.

        A lease stays while its run has no row: the row still waits in the dead process's spool, and would say
        "running" when it comes.
        """
        cleared = 0
        for lease in self._free_leases():
            try:
                is_stored = await database.fetchval("runs.mark_lost", UUID(lease.path.name), _WHY, lane=Lane.CONTROL)
            except OmniNodeError:
                break  # the database is away; the next one to open looks again
            else:
                cleared += bool(is_stored)
                lease.release(remove=bool(is_stored))
            finally:
                lease.release()
        return cleared

    def _free_leases(self) -> list[FileLock]:
        found = []
        with suppress(OSError):
            for path in self._directory.iterdir():
                with suppress(OSError, ValueError):
                    UUID(path.name)
                    lease = FileLock(path)
                    if path.exists() and lease.try_acquire():
                        found.append(lease)
        return found
