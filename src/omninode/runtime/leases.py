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
from omninode.storage.lease import FileLock

__all__ = ["RunLeases"]

_WHY = "the process that ran it was killed"


class RunLeases:
    """An event sink that holds a lease for each run from its start to its end."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._held: dict[UUID, FileLock] = {}

    def emit(self, event: Event) -> None:
        """Take or give up the lease of the run that `event` is about. Never raises."""
        if event.run_id is None:
            return
        # Without a lease a killed run stays "running" in the history; no reason to fail the run that can be made.
        with suppress(OSError):
            if isinstance(event, RunStarted):
                self._directory.mkdir(mode=0o700, exist_ok=True)
                lease = FileLock(self._directory / str(event.run_id))
                if lease.try_acquire():
                    self._held[event.run_id] = lease
            elif isinstance(event, RunFinished) and event.run_id in self._held:
                self._held.pop(event.run_id).release(remove=True)

    async def mark_lost(self, database: Database) -> int:
        """Mark the runs of dead processes as lost; how many leases of theirs were cleared.

        A lease stays while its run has no row: the row still waits in the dead process's spool, and would say
        "running" when it comes.
        """
        cleared = 0
        for lease in self._free_leases():
            try:
                is_stored = await database.fetchval("runs.mark_lost", UUID(lease.path.name), _WHY)
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
