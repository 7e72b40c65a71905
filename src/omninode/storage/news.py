"""News of breakers between processes: how they are written down, and a connection of its own that waits for them.

They travel by NOTIFY, which Postgres delivers when the transaction that stored the same state commits. A transaction
pooler lends a session to one transaction at a time, so nothing can wait on one: behind it the table is asked every
three seconds instead.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NoReturn
from uuid import UUID

from omninode.core.clock import Clock, SystemClock
from omninode.core.errors import DatabaseUnavailableError
from omninode.resilience.circuit import CircuitState
from omninode.resilience.peers import PeerNews
from omninode.resilience.snapshot import BreakerSnapshot
from omninode.storage.connection import connect
from omninode.storage.failures import translated
from omninode.storage.lanes import Lane

if TYPE_CHECKING:
    from omninode.storage.database import Database
    from omninode.storage.session import DriverConnection, Row

__all__ = ["DatabaseNews", "decoded", "encoded", "news_of"]

# As in queries/state.sql.
_CHANNEL = "omninode_breakers"
# Postgres takes payloads of fewer than 8000 bytes.
_MOST_BYTES = 7900
_POLL_S = 3.0
# A server that vanished without a word is noticed within this time and the driver's own limit on a statement.
_PING_S = 20.0
_PING_TIMEOUT_S = 10.0
_MOST_MS = 2**31

Hear = Callable[[Sequence[PeerNews]], None]


class DatabaseNews:
    """The `resilience.peers.PeerSource` on Postgres: one connection beside the pool, or a statement every 3 s.

    `sender` is this process, whose own news are left out.
    """

    def __init__(self, database: Database, *, sender: UUID, clock: Clock | None = None) -> None:
        self._database = database
        self._sender = sender
        self._clock = clock or SystemClock()
        self.foreign = 0
        """Notifications on our channel that nobody of us can have sent."""

    @property
    def mode(self) -> Literal["listening", "polling"]:
        """See `PeerSource.mode`."""
        return "polling" if self._database.pool.is_behind_pooler else "listening"

    async def listen(self, hear: Hear) -> None:
        """See `PeerSource.listen`; raises DatabaseUnavailableError when the connection is lost."""
        if self.mode == "polling":
            await self._poll(hear)
        await self._follow(hear)

    async def _poll(self, hear: Hear) -> NoReturn:
        while True:
            hear(_from_rows(await self._database.fetch("state.news", self._sender, lane=Lane.CONTROL)))
            await self._clock.sleep(_POLL_S)

    async def _follow(self, hear: Hear) -> NoReturn:
        doing = "listen for the breakers of other processes"
        connection = await connect(self._database.config, pool=self._database.pool)
        try:
            lost = asyncio.Event()
            connection.add_termination_listener(lambda _: lost.set())
            with translated(doing):
                # First to listen, then to look: what happens between the two is heard twice rather than never.
                await connection.add_listener(_CHANNEL, self._receiver(hear))
                await connection.execute(self._database.queries.text("state.stay"), str(self._sender))
                hear(_from_rows(await connection.fetch(self._database.queries.text("state.news"), self._sender)))
                while not lost.is_set():
                    await self._wait(lost, connection)
        finally:
            # Not `close`, which waits for an answer: whoever cancels us should not.
            connection.terminate()
        raise DatabaseUnavailableError(f"{doing}: the connection was lost")

    async def _wait(self, lost: asyncio.Event, connection: DriverConnection) -> None:
        try:
            async with asyncio.timeout(_PING_S):
                await lost.wait()
        except TimeoutError:
            await connection.fetchval(self._database.queries.text("storage.ping"), timeout=_PING_TIMEOUT_S)

    def _receiver(self, hear: Hear) -> Callable[[Any, int, str, object], None]:
        own = str(self._sender)

        # Any: the driver's connection, which nothing here needs.
        def receive(_connection: Any, _pid: int, _channel: str, payload: object) -> None:
            news = decoded(str(payload))
            if news is None:
                self.foreign += 1
            else:
                hear([entry for entry in news if entry.sender != own])

        return receive


def news_of(snapshot: BreakerSnapshot, *, sender: str) -> PeerNews | None:
    """What `snapshot` says to other processes.

    Nothing when it was isolated, which is a decision for this process, and nothing when it says what it heard itself.
    """
    is_isolated = snapshot.state is CircuitState.OPEN and snapshot.reopen_at is None
    if is_isolated or snapshot.is_second_hand:
        return None
    left_s = (snapshot.reopen_at - snapshot.updated_at).total_seconds() if snapshot.reopen_at else 0.0
    return PeerNews(
        sender=sender, name=snapshot.name, state=snapshot.state, generation=snapshot.generation, left_s=left_s
    )


def encoded(news: Sequence[PeerNews]) -> tuple[list[str], int]:
    """Payloads that carry `news` of one sender, each short enough for NOTIFY; and how many of them fit into none."""
    payloads: list[str] = []
    entries: list[str] = []
    untold = room = 0
    for item in news:
        head = json.dumps(item.sender)
        entry = json.dumps([item.name, item.state.value, item.generation, round(item.left_s * 1000)])
        # ASCII, so bytes are characters; five more for the brackets and commas around.
        size = len(entry) + 1
        whole = _MOST_BYTES - len(head) - 5
        if size > whole:
            untold += 1
            continue
        if size > room:
            entries, room = [], whole
            payloads.append("")
        entries.append(entry)
        room -= size
        payloads[-1] = f"[{head},[{','.join(entries)}]]"
    return payloads, untold


def decoded(payload: str) -> list[PeerNews] | None:
    """The news in `payload`, or None when it is not one of ours."""
    try:
        match json.loads(payload):
            case [str(sender), list(entries)]:
                return [_entry(sender, entry) for entry in entries]
    except (ValueError, RecursionError):
        pass
    return None


def _entry(sender: str, entry: object) -> PeerNews:
    match entry:
        case [str(name), str(state), int(generation), int(left_ms)]:
            # An integer of a thousand digits is an integer too, and no float.
            left_s = max(-_MOST_MS, min(_MOST_MS, left_ms)) / 1000
            return PeerNews(sender=sender, name=name, state=CircuitState(state), generation=generation, left_s=left_s)
    raise ValueError(f"{entry!r} is not an entry of ours")


def _from_rows(rows: Sequence[Row]) -> list[PeerNews]:
    return [PeerNews(**{**row, "state": CircuitState(row["state"])}) for row in rows]
