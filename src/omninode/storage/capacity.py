"""Whether the server can give all pools of OmniNode what they may ask of it.

A pool opens connections as it needs them, so too many pools are noticed on the busiest day. Each of their connections
bears the pool's name (`application_name`), which tells the size and who it is; so any of them can add up all.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from omninode.storage.lanes import Lane

if TYPE_CHECKING:
    from omninode.storage.database import Database

__all__ = ["SPARE", "Capacity", "pool_name", "read_capacity"]

# Left to psql, backups and whoever else connects.
SPARE = 10
_NAME = re.compile(r"omninode pool=(?P<size>\d{1,4}) pid=\d+ [0-9a-f]{8}")


def pool_name(size: int) -> str:
    """The `application_name` of one pool; the random end keeps apart processes of different machines."""
    return f"omninode pool={size} pid={os.getpid()} {secrets.token_hex(4)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What all pools that are connected now may open, against what the server gives to ordinary users.

    `single` counts connections outside of pools: those that listen, migrate or build an index.
    """

    max_connections: int
    reserved: int
    pools: tuple[int, ...]
    single: int

    @property
    def wanted(self) -> int:
        """Connections at most, of all of them."""
        return sum(self.pools) + self.single

    @property
    def missing(self) -> int:
        """How many of those the server would refuse, with 10 left to others; 0 when there are enough."""
        return max(0, self.wanted - (self.max_connections - self.reserved - SPARE))

    def told(self) -> str:
        """Both sums in words, with what to do when they do not match."""
        text = (
            f"all pools together ({len(self.pools)}) and {self.single} single connections may open {self.wanted}; the "
            f"server allows {self.max_connections}, of which {self.reserved} are reserved and {SPARE} left to others"
        )
        if not self.missing:
            return text
        return (
            f"{text}: {self.missing} too few; lower CONNECTION_POOL_SIZE, run fewer processes, raise max_connections, "
            "or put PgBouncer between"
        )


async def read_capacity(database: Database) -> Capacity | None:
    """The sums now; None behind a proxy, whose own limits count instead.

    A pool that has no connection at this moment cannot be seen.
    """
    if database.pool.is_behind_pooler:
        return None
    row = await database.fetchrow("schema.capacity", lane=Lane.CONTROL)
    assert row is not None
    return counted(row["names"], max_connections=row["max_connections"], reserved=row["reserved"])


def counted(names: Iterable[str], *, max_connections: int, reserved: int) -> Capacity:
    """The sums, from the application name of each connection."""
    pools: dict[str, int] = {}
    single = 0
    for name in names:
        match = _NAME.fullmatch(name)
        if match is None:
            single += name.startswith("omninode")
        else:
            pools[name] = int(match["size"])
    return Capacity(
        max_connections=max_connections, reserved=reserved, pools=tuple(sorted(pools.values())), single=single
    )
