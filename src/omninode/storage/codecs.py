"""JSON columns as Python values, in the binary form that COPY needs too.

Bytes, which are no value of JSON, are taken for the wire's own form, so that checking a value and sending it encodes it
once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    import asyncpg

__all__ = ["prepare_codecs", "wire_jsonb"]


async def prepare_codecs(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Teach a connection our JSON: jsonb on the wire is a version byte, then text."""
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=_encode_jsonb, decoder=_decode_jsonb, format="binary"
    )
    await connection.set_type_codec(
        "json", schema="pg_catalog", encoder=_encode_json, decoder=orjson.loads, format="binary"
    )


def wire_jsonb(value: object) -> bytes:
    """`value` as jsonb on the wire; raises orjson.JSONEncodeError."""
    # The sum is a copy of its true size: what orjson returns lies in a block of a kilobyte, and a batch keeps many.
    return b"\x01" + orjson.dumps(value)


def _encode_json(value: object) -> bytes:
    return value if value.__class__ is bytes else orjson.dumps(value)


def _encode_jsonb(value: object) -> bytes:
    return value if value.__class__ is bytes else wire_jsonb(value)


def _decode_jsonb(data: bytes) -> object:
    return orjson.loads(memoryview(data)[1:])
