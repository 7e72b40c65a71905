"""Rows that wait for the database: taken at once, kept in a file, written later.

`put` appends to a file and to memory and returns; it never waits for the database, and what it took survives a kill
of the process. `put_ledger` waits until the row survives a power cut too. Rows of different promises (`policies`) go
in tracks of their own, so that a flood of telemetry neither delays nor displaces the ledger. Each track is a directory,
locked while the process lives; `flusher.SpoolFlusher` writes the rows, its own and those of dead processes beside it,
exactly once. So spools are side by side only when their rows are for the same database.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import orjson

from omninode.core.deadline import Deadline, within
from omninode.core.errors import InvalidArgumentError, SpoolError
from omninode.core.events import AlertChanged, EventSink, NullSink
from omninode.storage.dead_letters import storable
from omninode.storage.group_sync import GroupSync, sync_file
from omninode.storage.orphans import EXPIRED, expire_orphans
from omninode.storage.policies import Durability, SpoolConfig, TablePolicy, WhenFull
from omninode.storage.segment import label_of
from omninode.storage.track import Track

__all__ = ["Spool", "SpoolConfig", "SpoolStatistics"]

_LEDGER_S = 5.0
# A full disk tells nobody that it has room again, so whoever waits for room looks again after so long.
_LOOK_AGAIN_S = 0.2
_MOST_ROUTES = 1024
# An alarm stays as it is for so long.
_ALARM_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolStatistics:
    """One spool since it was made: rows by what became of them, and where those are that wait.

    `dropped` counts by table, and under "(unreadable)" and "(expired)". `only_in_memory` rows would not survive the
    process; `disk_error` says why there are any, or why a sync failed.
    """

    accepted: int
    dropped: Mapping[str, int]
    waiting: int
    memory_rows: int
    memory_bytes: int
    only_in_memory: int
    disk_bytes: int
    syncs: int
    sync_failures: int
    disk_error: str | None


@dataclass(slots=True, kw_only=True)
class _Route:
    """Where the rows of a table go, looked up once; `seen` counts those that came while sampling."""

    table: str
    label: str
    policy: TablePolicy
    track: Track
    seen: int = 0


class Spool:
    """The rows of this process. `put` and `statistics` may be called from any thread."""

    def __init__(
        self,
        directory: Path | str,
        *,
        config: SpoolConfig | None = None,
        sink: EventSink | None = None,
        sync: Callable[[int], None] = sync_file,
    ) -> None:
        """`sink` is told when rows cannot be made safe on disk, and when they are again; `sync` syncs an open file."""
        self.root = Path(directory)
        self._config = config or SpoolConfig()
        self._sink = sink or NullSink()
        self._tracks: dict[str, Track] = {}
        self._routes: dict[tuple[str, str | None, bool], _Route] = {}
        self._expired = 0
        self._is_alarmed = False
        self._calm_at = 0.0
        self._guard = threading.Lock()
        self._is_closed = False
        self._sync = GroupSync(interval_s=self._config.sync_interval_s, sync=sync, after=self._watch)

    def put(self, table: str, row: Mapping[str, object], *, key: str | None = None) -> bool:
        """Take `row` at once; False when it had to be dropped, which is counted.

        With `key` (a column) the row replaces an earlier one of the same key. Values must be JSON; characters that
        Postgres cannot store become U+FFFD. Raises InvalidArgumentError for a row that is no JSON object.
        """
        route = self._route(table, key)
        return bool(self._offer(route, _encoded(row, table)))

    async def put_when_room(
        self, table: str, row: Mapping[str, object], *, key: str | None = None, deadline: Deadline | None = None
    ) -> bool:
        """`put`, which for a table that may BLOCK waits for room until `deadline` (5 s), and then drops the row."""
        route = self._route(table, key)
        return bool(await self._admitted(route, _encoded(row, table), deadline or Deadline.after(_LEDGER_S)))

    async def put_ledger(
        self, table: str, row: Mapping[str, object], *, key: str | None = None, deadline: Deadline | None = None
    ) -> None:
        """Take `row` and return when it would survive a power cut: on the disk itself, or in the database.

        Any number of callers share one sync. Raises SpoolError when there is no room (until `deadline`, 5 s, for a
        table that may BLOCK), or when the disk fails; then `is_kept`: the row is in memory and goes its way, as it does
        when the sync is not done by the deadline, which raises DeadlineExceededError. Whoever tries again gives the row
        the same id. A caller that is cancelled leaves the row where it is.
        """
        limit = deadline or Deadline.after(_LEDGER_S)
        route = self._route(table, key, is_ledger=True)
        track = route.track
        # Made as the row is taken: a sync that fails just after it must find who waits, or the next would acknowledge it.
        waits: list[asyncio.Future[None]] = []
        number = await self._admitted(
            route, _encoded(row, table), limit, as_taken=lambda number: waits.append(track.safe.add(number))
        )
        if not number:
            raise SpoolError(f"the spool {self.root} has no room for a row of {table!r}; it was dropped and counted")
        [safe] = waits
        if not track.is_on_disk(number):
            safe.cancel()
            raise SpoolError(f"a row of {table!r} is only in memory: {track.disk_error}", is_kept=True)
        async with within(limit, doing=f"syncing a row of {table!r} to {self.root}"):
            await safe

    @property
    def waiting(self) -> int:
        """Rows taken and not yet in the database."""
        return sum(track.waiting for track in self.tracks())

    def tracks(self) -> tuple[Track, ...]:
        """The tracks that have been used: each is written, and stored, by itself."""
        return tuple(self._tracks.values())

    def statistics(self) -> SpoolStatistics:
        """The spool now."""
        tracks = self.tracks()
        dropped: Counter[str] = Counter({EXPIRED: self._expired} if self._expired else {})
        for track in tracks:
            with track.guard:
                dropped.update(track.dropped)
        return SpoolStatistics(
            accepted=sum(track.accepted for track in tracks),
            dropped=dict(dropped),
            waiting=self.waiting,
            memory_rows=sum(track.memory_rows for track in tracks),
            memory_bytes=sum(track.memory_bytes for track in tracks),
            only_in_memory=sum(track.only_in_memory for track in tracks),
            disk_bytes=sum(track.disk_bytes for track in tracks),
            syncs=sum(track.syncs for track in tracks),
            sync_failures=sum(track.sync_failures for track in tracks),
            disk_error=next((track.disk_error for track in tracks if track.disk_error), None),
        )

    def expire(self, *, now: float) -> None:
        """Drop what has waited for longer than `max_age_s`, here and beside; for when the database takes nothing.

        `now` is in seconds since 1970. Blocks: it reads files.
        """
        for track in self.tracks():
            track.expire(now - self._config.max_age_s)
        self._expired += expire_orphans(
            self.root, before=now - self._config.max_age_s, disk_bytes=self._config.disk_bytes
        )

    def close(self) -> None:
        """Take no more. What still waits stays on disk for the next process; blocks for a sync. Twice is harmless."""
        with self._guard:
            if self._is_closed:
                return
            self._is_closed = True
        for track in self.tracks():
            track.stop()
        self._sync.close()
        for track in self.tracks():
            track.close()

    def _route(self, table: str, key: str | None, *, is_ledger: bool = False) -> _Route:
        route = self._routes.get((table, key, is_ledger))
        return route or self._make_route(table, key, is_ledger)

    def _make_route(self, table: str, key: str | None, is_ledger: bool) -> _Route:
        label = label_of(table, key)
        if len(label.encode("utf-8", "replace")) > 255:
            raise InvalidArgumentError(f"the table name {table[:40]!r}… is too long")
        policy = self._config.policy(table)
        if is_ledger:
            policy = policy.as_ledger()
        drops_oldest_of = None
        name = "ledger" if policy.durability is Durability.LEDGER else "telemetry"
        if name == "telemetry" and policy.when_full is WhenFull.DROP_OLDEST:
            name, drops_oldest_of = f"oldest {table}", table
        with self._guard:
            track = self._tracks.get(name)
            if track is None:
                track = Track(self.root, config=self._config, drops_oldest_of=drops_oldest_of)
                track.is_closed = self._is_closed
                self._tracks = {**self._tracks, name: track}
            if len(self._routes) >= _MOST_ROUTES:
                self._routes.clear()
            route = _Route(table=table, label=label, policy=policy, track=track)
            self._routes[table, key, is_ledger] = route
        return route

    def _offer(
        self, route: _Route, data: bytes, *, is_final: bool = True, as_taken: Callable[[int], None] | None = None
    ) -> int:
        """The row's number, 0 when it was not taken; that counts as dropped when `is_final`.

        `as_taken` is told the number before any sync can see the row.
        """
        track = route.track
        with track.guard:
            is_thinned = route.policy.when_full is WhenFull.SAMPLE and track.is_scarce() and not _is_sampled(route)
            number = 0 if is_thinned else track.add(route.label, data)
            if not number and is_final:
                track.dropped[route.table] += 1
            if number and as_taken is not None:
                as_taken(number)
            is_new = bool(number) and not track.is_noted
            track.is_noted = track.is_noted or is_new
        if is_new:
            self._sync.note(track, hurry=route.policy.durability is Durability.LEDGER)
        if track.disk_error is not None or self._is_alarmed:
            self._watch()
        return number

    async def _admitted(
        self, route: _Route, data: bytes, limit: Deadline, *, as_taken: Callable[[int], None] | None = None
    ) -> int:
        """The row's number, waiting for room where the table's policy says so; 0 when it was dropped."""
        is_patient = route.policy.when_full is WhenFull.BLOCK
        number = self._offer(route, data, is_final=not is_patient, as_taken=as_taken)
        while not number and is_patient:
            is_patient = not (limit.has_passed or self._is_closed)
            # Before looking again: what is released in between is not missed.
            room = route.track.room.add()
            number = self._offer(route, data, is_final=not is_patient, as_taken=as_taken)
            if not number and is_patient:
                with suppress(TimeoutError):
                    async with asyncio.timeout(limit.cap(_LOOK_AGAIN_S)):
                        await room
            room.cancel()
        return number

    def _watch(self) -> None:
        """Raise the alarm when rows cannot be made safe, and end it when they are again."""
        trouble = next((track.disk_error for track in self.tracks() if track.disk_error), None)
        now = time.monotonic()
        with self._guard:
            # At the bound every batch that is written makes room for a moment; that is one alarm, not many.
            if (trouble is not None) is self._is_alarmed or now < self._calm_at:
                return
            self._is_alarmed, self._calm_at = trouble is not None, now + _ALARM_S
        self._sink.emit(
            AlertChanged(
                alert="spool_disk",
                state="resolved" if trouble is None else "firing",
                severity="critical",
                metric="spool_only_in_memory_rows",
                value=float(sum(track.only_in_memory for track in self.tracks())),
                threshold=0.0,
                message=trouble or f"rows are safe on disk again in {self.root}",
            )
        )


def _is_sampled(route: _Route) -> bool:
    route.seen += 1
    return route.seen % route.policy.sample == 1 or route.policy.sample == 1


def _encoded(row: Mapping[str, object], table: str) -> bytes:
    try:
        data = orjson.dumps(row)
        if b"\\u0000" not in data:
            return data
    except orjson.JSONEncodeError:
        pass  # a lone surrogate, perhaps; the second try says what else
    try:
        return orjson.dumps(storable(row))
    except orjson.JSONEncodeError as error:
        raise InvalidArgumentError(f"a row for {table!r} is not JSON: {error}") from error
