"""Rows the database would not take, kept with the reason, so that one bad row never holds up the others.

The reason holds no secret that can be told by its shape. The row is kept as it was given, secrets included: it is the
only copy, to be written again once it has been put right. Whoever may read `dead_letters` may read what any table of
the database was to hold. Only a text or bytes too large for a row of their own are cut, which is said in their place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

import orjson

from omninode.core.ids import uuid7
from omninode.storage.batch import Operation, RowData
from omninode.storage.codecs import wire_jsonb
from omninode.storage.isolation import BadRow
from omninode.validation.secrets import redact

if TYPE_CHECKING:
    from omninode.storage.session import Session

__all__ = ["bury", "storable"]

# jsonb takes strings of up to 256 MiB; a dead letter is to be read, not to be a second store.
_LARGEST_KEPT, _KEPT = 10_000_000, 10_000
# Bytes of JSON in one statement; a larger row goes alone.
_BURIED_AT_ONCE = 8_000_000


async def bury(
    session: Session,
    bad: Iterable[BadRow],
    rows: Sequence[RowData],
    *,
    table: str,
    operation: Operation,
    now: datetime,
) -> None:
    """Store each bad row of `rows` (indexed from 0) inside the caller's transaction, many by one statement."""
    size = 0
    held: list[tuple[UUID, str | None, str, bytes]] = []
    for entry in bad:
        row = wire_jsonb(orjson.loads(orjson.dumps(storable(dict(rows[entry.index])), default=str)))
        error = str(redact(str(storable(entry.error))))
        if size + len(row) > _BURIED_AT_ONCE:
            await _store(session, held, now, table, str(operation))
            size, held = 0, []
        held.append((uuid7(), entry.sqlstate, error, row))
        size += len(row) + len(error)
    await _store(session, held, now, table, str(operation))


async def _store(session: Session, held: Sequence[tuple[object, ...]], *told: object) -> None:
    if held:
        identifiers, states, errors, rows = zip(*held, strict=True)
        await session.execute("batch.bury", identifiers, *told, states, errors, rows)


def storable(value: object) -> object:
    """`value` with what Postgres cannot store in text or jsonb replaced: NUL and lone surrogates by U+FFFD.

    Of text and bytes of more than ten million only the beginning is kept, with the size of the whole.
    """
    if isinstance(value, str | bytes | bytearray) and len(value) > _LARGEST_KEPT:
        return f"{storable(value[:_KEPT])}… (the first {_KEPT:,} of {len(value):,})"
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {str(storable(str(key))): storable(part) for key, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [storable(part) for part in value]
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    return value
