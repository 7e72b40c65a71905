"""JSON columns as Python values, in the binary form that COPY needs too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    import asyncpg

__all__ = ["EncodedJson", "prepare_codecs"]


class EncodedJson(bytes):
    """JSON that was encoded already, so that checking a value and sending it encodes it once."""

    __slots__ = ()


async def prepare_codecs(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Teach a connection our JSON: jsonb on the wire is a version byte, then text."""
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=_encode_jsonb, decoder=_decode_jsonb, format="binary"
    )
    await connection.set_type_codec(
        "json", schema="pg_catalog", encoder=_encode_json, decoder=orjson.loads, format="binary"
    )


def _encode_json(value: object) -> bytes:
    return value if isinstance(value, EncodedJson) else orjson.dumps(value)


def _encode_jsonb(value: object) -> bytes:
    return b"\x01" + _encode_json(value)


def _decode_jsonb(data: bytes) -> object:
    return orjson.loads(memoryview(data)[1:])
