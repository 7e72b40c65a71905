"""The process that keeps an embedded server running for users who are not ours (psql), until they are gone.

Run as `python -m omninode.storage.keeper DATA_DIR IDLE_S` by `EmbeddedPostgres.keep`. It prints one line when it holds
its lease, and ends when for IDLE_S seconds nobody but itself has used the server.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time

from omninode.core.errors import OmniNodeError
from omninode.storage.database import Database
from omninode.storage.embedded import EmbeddedPostgres
from omninode.storage.lease import FileLock

__all__ = ["main"]

_LOOK_EVERY_S = 1.0


async def _keep(server: EmbeddedPostgres, idle_s: float) -> None:
    async with server:
        lock = FileLock(server.data_dir / "keeper")
        if not lock.try_acquire():
            return
        os.write(sys.stdout.fileno(), b"kept\n")
        try:
            used_at = time.monotonic()
            while time.monotonic() - used_at < idle_s:
                await asyncio.sleep(min(_LOOK_EVERY_S, idle_s / 4))
                if await _is_used(server):
                    used_at = time.monotonic()
        finally:
            lock.release(remove=True)


async def _is_used(server: EmbeddedPostgres) -> bool:
    if (await server.status()).clients > 1:
        return True
    try:
        async with Database.open(server.config, pool_size=1) as database:
            return bool(await database.fetchval("storage.other_sessions"))
    except OmniNodeError:
        return False


def main() -> int:
    """Keep the server of the directory given as the first argument; always 0."""
    data_dir, idle_s = sys.argv[1:3]
    asyncio.run(_keep(EmbeddedPostgres(data_dir), float(idle_s)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
