"""Where learning is kept: rows of `context_learning` and the cached predictions of `context_predictions`.

Rows go to a spool when there is one, which never waits; otherwise they are kept in memory and written to the database
by `flush`. Without either nothing outlives the process, and `kept_in` says so. A database that is away costs nothing
but the rows beyond `max_waiting`, which are counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

from omninode.core.deadline import Deadline, within
from omninode.core.errors import ConfigurationError, DatabaseError, DeadlineExceededError, RefusedError

__all__ = ["Ledger", "LedgerStatistics", "RowSpool", "Statements"]

KeptIn = Literal["memory", "database", "spool"]
Row = Mapping[str, Any]  # Any: the columns of a row, as JSON-able values
_UNAVAILABLE = (ConfigurationError, DatabaseError, DeadlineExceededError, RefusedError, OSError)


class Statements(Protocol):
    """Runs named statements; `storage.Database` does."""

    async def fetch(self, name: str, *args: object) -> Sequence[Any]:  # Any: the driver's row type
        """All rows."""
        ...

    async def execute(self, name: str, *args: object) -> object:
        """Run a statement for what it changes."""
        ...


class RowSpool(Protocol):
    """Takes rows to be written later; `storage.Spool` does."""

    def put(self, table: str, row: Mapping[str, object], *, key: str | None = None) -> object:
        """Take `row` for `table`; returns at once. With `key` (a column) it replaces an earlier one of that key."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerStatistics:
    """What was kept: rows handed on, waiting, lost because too many waited; how often the database did not answer."""

    kept_in: KeptIn
    written: int
    waiting: int
    dropped: int
    failures: int


class Ledger:
    """Rows in, rows out. Safe to use concurrently from one event loop."""

    def __init__(
        self,
        database: Statements | None = None,
        *,
        spool: RowSpool | None = None,
        timeout_s: float = 1.0,
        max_waiting: int = 5_000,
    ) -> None:
        self._database = database
        self._spool = spool
        self._timeout_s = timeout_s
        self._waiting: deque[Row] = deque()
        self._max_waiting = max_waiting
        self._written = self._dropped = self._failures = 0

    def use(self, database: Statements) -> None:
        """Keep rows in `database` from now on; those that wait go there too."""
        self._database = database

    @property
    def kept_in(self) -> KeptIn:
        """Where rows end up."""
        if self._spool is not None:
            return "spool"
        return "memory" if self._database is None else "database"

    def add(self, rows: Sequence[Row]) -> None:
        """Take rows of `context_learning`; returns at once. Without spool and database they are not kept."""
        if self._spool is not None:
            for row in rows:
                self._spool.put("context_learning", row)
            self._written += len(rows)
            return
        if self._database is None:
            return
        self._waiting.extend(rows)
        while len(self._waiting) > self._max_waiting:
            self._waiting.popleft()
            self._dropped += 1

    async def flush(self) -> bool:
        """Write what waits; whether nothing is left. Does not raise when the database is away: the rows stay."""
        if self._database is None or not self._waiting:
            return not self._waiting
        rows = list(self._waiting)
        # A row knows its id, so writing one twice after a lost answer is harmless.
        if not await self._run("context_learning.insert", [dict(row) for row in rows]):
            return False
        for row in rows:
            if self._waiting and self._waiting[0] is row:
                self._waiting.popleft()
        self._written += len(rows)
        return True

    async def outcomes(self, *, limit: int) -> list[Row]:
        """The latest rows with a reward, oldest first; none when the database is away."""
        return list(reversed(await self._read("context_learning.outcomes", limit)))

    async def prediction(self, key: str, now: datetime) -> Row | None:
        """The cached prediction under `key` that is still good at `now`, counted as a hit.

        None beside a spool: whoever has one must not wait for the database, and predicting again is quicker.
        """
        if self._spool is not None:
            return None
        rows = await self._read("context_predictions.hit", key, now)
        return rows[0] if rows else None

    async def keep_prediction(self, row: Row) -> bool:
        """Store a prediction in place of what was under its key; whether that worked. A spool takes it at once."""
        if self._spool is not None:
            times = {name: row[name].isoformat() for name in ("ts", "expires_at")}
            return bool(self._spool.put("context_predictions", {**row, **times}, key="key_hash"))
        columns = ("key_hash", "ts", "task_type", "predicted", "confidence", "expires_at")
        return await self._run("context_predictions.keep", *(row[column] for column in columns))

    async def sweep(self, now: datetime) -> bool:
        """Delete the predictions that are too old at `now`; whether that worked."""
        return await self._run("context_predictions.expire", now)

    def statistics(self) -> LedgerStatistics:
        """Counts since it was made."""
        return LedgerStatistics(
            kept_in=self.kept_in,
            written=self._written,
            waiting=len(self._waiting),
            dropped=self._dropped,
            failures=self._failures,
        )

    async def _run(self, statement: str, *args: object) -> bool:
        if self._database is None:
            return False
        try:
            async with within(Deadline.after(self._timeout_s), doing=statement):
                await self._database.execute(statement, *args)
        except _UNAVAILABLE:
            self._failures += 1
            return False
        return True

    async def _read(self, statement: str, *args: object) -> list[Row]:
        if self._database is None:
            return []
        try:
            async with within(Deadline.after(self._timeout_s), doing=statement):
                return [dict(row) for row in await self._database.fetch(statement, *args)]
        except _UNAVAILABLE:
            self._failures += 1
            return []
