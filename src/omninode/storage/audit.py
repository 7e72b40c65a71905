"""The audit log: who did what, in one chain of hashes per database, and what tells that somebody changed it.

Each row holds the hash of the row before it, so a row that is edited, removed, put in between or moved breaks the chain
at that place. Whoever owns the database can make all of the chain anew, or cut off its end; only a checkpoint that is
kept elsewhere shows that (`Checkpoint`), and one that is sealed with a key cannot be made anew either.

The chain is made by a trigger (migration 0008), one writer at a time, so it is the same for rows of any process.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING
from uuid import UUID

import orjson

from omninode.core.errors import ConfigurationError, InvalidArgumentError

if TYPE_CHECKING:
    from omninode.storage.database import Database

__all__ = ["AuditRow", "Chain", "Checkpoint", "Fault", "Verdict", "head_of", "row_hash", "unguarded", "verify"]

NO_HASH = "0" * 64
_GUARDS = ("audit_log_chained", "audit_log_kept", "audit_log_not_emptied")
_LEAST = -(2**63)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """A row as it is stored; `entry` is JSON text."""

    seq: int
    id: UUID
    entry: str
    prev_hash: str
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """The first place where the log is not what was written: the number of the row, and what is wrong there."""

    seq: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was read, and the first fault; None for a log that is whole, as far as chain and checkpoints tell."""

    rows: int
    fault: Fault | None


def row_hash(prev_hash: str, *, seq: int, id: UUID, entry: str) -> str:  # noqa: A002 - the column's name
    """The hash that the row must have, in hex."""
    return hashlib.sha256(f"{prev_hash}\n{seq}\n{id}\n{entry}".encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The end of the chain at a moment: `seq` rows, the last with `hash`. `at` is for people.

    `seal` keeps the four together: an HMAC where there is a key, otherwise a hash, which shows damage but no intent.
    """

    seq: int
    hash: str
    at: str
    seal: str = ""

    def sealed(self, key: str | None) -> Checkpoint:
        """The checkpoint with its seal."""
        return Checkpoint(seq=self.seq, hash=self.hash, at=self.at, seal=self._seal(key))

    def as_line(self) -> str:
        """One line of JSON."""
        return orjson.dumps(asdict(self), option=orjson.OPT_SORT_KEYS).decode()

    @classmethod
    def read(cls, text: str, *, key: str | None) -> list[Checkpoint]:
        """The checkpoints in `text`, one a line.

        Raises InvalidArgumentError for a line that is none or whose seal is not right, ConfigurationError when the key
        for a seal is missing.
        """
        found = [cls._of(line, number, key) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
        if not found:
            raise InvalidArgumentError("the file holds no checkpoint; make one with 'omninode audit checkpoint > FILE'")
        return found

    @classmethod
    def _of(cls, line: str, number: int, key: str | None) -> Checkpoint:
        try:
            values = orjson.loads(line)
            point = cls(
                seq=int(values["seq"]), hash=str(values["hash"]), at=str(values["at"]), seal=str(values["seal"])
            )
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise InvalidArgumentError(f"line {number} of the file is no checkpoint ({error})") from error
        if point.seal.startswith("hmac-") and key is None:
            raise ConfigurationError(
                f"the checkpoint in line {number} is sealed with a key; set OMNINODE_AUDIT_KEY to it"
            )
        if key is not None and not point.seal.startswith("hmac-"):
            raise InvalidArgumentError(
                f"the checkpoint in line {number} is not sealed with the key, so anybody may have made it; "
                "unset OMNINODE_AUDIT_KEY to use it all the same"
            )
        if not hmac.compare_digest(point.seal, point._seal(key)):
            raise InvalidArgumentError(f"the seal of the checkpoint in line {number} is not right; it was changed")
        return point

    def _seal(self, key: str | None) -> str:
        data = f"omninode audit 1\n{self.seq}\n{self.hash}\n{self.at}".encode()
        if key is None:
            return f"sha256:{hashlib.sha256(data).hexdigest()}"
        return f"hmac-sha256:{hmac.new(key.encode(), data, hashlib.sha256).hexdigest()}"


class Chain:
    """Rows in the order of their numbers, judged one by one."""

    def __init__(self, checkpoints: Iterable[Checkpoint] = ()) -> None:
        self._points = sorted(checkpoints, key=lambda point: point.seq)
        self._seq, self._hash, self._confirmed = 0, NO_HASH, 0
        self.rows = 0

    def take(self, row: AuditRow) -> Fault | None:
        """What is wrong with the next row."""
        self.rows += 1
        fault = self._broken(row) or self._unlike_checkpoint(row)
        self._seq, self._hash = row.seq, row.hash
        return fault

    def end(self) -> Fault | None:
        """What is wrong with the end: rows that a checkpoint has seen are not there."""
        latest = max((point.seq for point in self._points), default=0)
        if latest <= self._seq:
            return None
        return Fault(
            seq=self._seq + 1,
            message=f"{_rows(self._seq + 1, latest)} cut off: a checkpoint saw them, and the log ends at {self._seq}",
        )

    def _broken(self, row: AuditRow) -> Fault | None:
        expected = self._seq + 1
        if row.seq > expected:
            return Fault(seq=expected, message=f"{_rows(expected, row.seq - 1)} missing")
        if row.seq < expected:
            return Fault(seq=row.seq, message=f"row {row.seq} was put in: there is another of its number, or none")
        if row.hash != row_hash(row.prev_hash, seq=row.seq, id=row.id, entry=row.entry):
            return Fault(seq=row.seq, message=f"row {row.seq} was changed: its hash is not that of what it holds")
        if row.prev_hash != self._hash:
            return Fault(
                seq=row.seq,
                message=f"row {row.seq} does not follow the row before it: one of them was replaced, removed or moved",
            )
        return None

    def _unlike_checkpoint(self, row: AuditRow) -> Fault | None:
        for point in self._points:
            if point.seq != row.seq:
                continue
            if point.hash != row.hash:
                first = self._confirmed + 1
                return Fault(
                    seq=first,
                    message=f"the log was made anew: somewhere in {_span(first, row.seq)} it is not what the checkpoint "
                    f"of {point.at} saw, though its hashes fit each other",
                )
            self._confirmed = row.seq
        return None


def _span(first: int, last: int) -> str:
    return f"row {first}" if first == last else f"rows {first} to {last}"


def _rows(first: int, last: int) -> str:
    return f"{_span(first, last)} {'is' if first == last else 'are'}"


async def verify(database: Database, checkpoints: Sequence[Checkpoint] = ()) -> Verdict:
    """Read all of the log, in one snapshot, and say where it is not what was written."""
    chain, last = Chain(checkpoints), _LEAST
    async with (
        database.acquire(doing="audit verify") as session,
        session.driver.transaction(isolation="repeatable_read", readonly=True),
    ):
        while rows := await session.fetch("audit.page", last):
            for row in rows:
                if fault := chain.take(AuditRow(**{name: row[name] for name in AuditRow.__slots__})):
                    return Verdict(rows=chain.rows, fault=fault)
            last = rows[-1]["seq"]
        # Only without the primary key can two rows have one number; the second may begin a page and be left out.
        if await session.fetchval("audit.count") != chain.rows:
            return Verdict(
                rows=chain.rows, fault=Fault(seq=last, message="rows without a number of their own were put in")
            )
    return Verdict(rows=chain.rows, fault=chain.end())


async def head_of(database: Database) -> tuple[int, str]:
    """How many rows there are, and the hash of the last one."""
    row = await database.fetchrow("audit.head")
    return (row["seq"], row["hash"]) if row is not None else (0, NO_HASH)


async def unguarded(database: Database) -> tuple[str, ...]:
    """The triggers that keep the log and are switched off or gone."""
    standing = {row["name"] for row in await database.fetch("audit.guards")}
    return tuple(name for name in _GUARDS if name not in standing)
