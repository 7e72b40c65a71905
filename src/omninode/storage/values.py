"""Python values as a column takes them, checked a column at a time.

The driver would refuse a wrong value too, but without saying in which row; and some values (a naive datetime, a
string for a uuid) it takes or refuses differently in COPY and in parameters. The usual case, a column whose values
already have the right type, costs one pass at the speed of C.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from functools import partial
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from operator import attrgetter
from uuid import UUID

import orjson

from omninode.core.errors import BatchDataError
from omninode.storage.catalog import Column
from omninode.storage.codecs import wire_jsonb
from omninode.validation.secrets import is_sensitive_name

__all__ = ["prepared_column"]

_NONE = type(None)
_TIME_ZONE = attrgetter("tzinfo")
_INTEGERS = {"int2": 2**15, "int4": 2**31, "int8": 2**63, "oid": 2**32}
# Any number of them, one after the other.
_UUIDS = re.compile(r"(?:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})*+")
_FLOAT4_MAX = 3.4028235e38
# A field ends at 1 GiB less what the protocol adds; beyond, the server does not answer but hangs up.
_LARGEST_BYTES = 1_000_000_000


_ADDRESSES = IPv4Address | IPv4Interface | IPv4Network | IPv6Address | IPv6Interface | IPv6Network


class _RefusedError(Exception):
    """A value that the column cannot hold; the text says why."""


def prepared_column(
    values: Sequence[object], column: Column, *, table: str, numbers: Sequence[int] | None = None
) -> Sequence[object]:
    """`values` ready for the driver; raises BatchDataError naming table, column and row of the first bad one.

    `numbers` are the rows' places in the caller's data, where they are not 0, 1, 2 and so on.
    """
    convert = _converter(column)
    if _is_ready(values, column):
        return values
    if column.type in _QUICK and (quick := _QUICK[column.type](values)) is not None:
        return quick
    done: list[object] = []
    for index, value in enumerate(values):
        try:
            done.append(None if value is None else convert(value))
        except (_RefusedError, ValueError, TypeError, OverflowError, InvalidOperation) as error:
            row = numbers[index] if numbers is not None else index
            raise BatchDataError(
                f"row {row}, column {table}.{column.name} ({column.shown_type}): {_reason(error, column)}",
                table=table,
                column=column.name,
                row=row,
            ) from error
    return done


def _reason(error: Exception, column: Column) -> str:
    """Why a value is refused; the reason may quote it."""
    if is_sensitive_name(column.name):
        return "the value does not fit; it is not shown, because the column's name says that it is secret"
    return str(error)


def _is_ready(values: Sequence[object], column: Column) -> bool:
    """Whether every value can go to the driver as it is (a quick no is not an error)."""
    types = set(map(type, values))
    types.discard(_NONE)
    if column.element_type is not None or column.labels is not None:
        return False
    if column.type in _TEXTS:
        return types <= {str} and column.max_length is None and _is_clean_text(values)
    if column.type == "uuid" and str in types:
        # The driver encodes their text in C, three times as fast as UUID takes to read it.
        return _are_written_uuids(values)
    if column.type in _INTEGERS:
        limit = _INTEGERS[column.type]
        return types <= {int} and _are_between(values, -limit, limit)
    if column.type == "bytea":
        # The set of types has just been checked, which narrows the values for us and not for the type checker.
        return types <= {bytes} and max(map(len, filter(None, values)), default=0) <= _LARGEST_BYTES  # type: ignore[arg-type]
    if column.type == "timestamptz":
        return types <= {datetime} and None not in set(map(_TIME_ZONE, filter(None, values)))
    ready = _READY.get(column.type)
    return ready is not None and types <= ready


def _are_between(values: Sequence[object], low: int, end: int) -> bool:
    # The caller has checked that they are int or None.
    present = [value for value in values if value is not None] if None in values else values
    return not present or (min(present) >= low and max(present) < end)  # type: ignore[type-var,operator]


def _is_clean_text(values: Sequence[object]) -> bool:
    # The caller has checked that they are str or None.
    joined = "".join(filter(None, values))  # type: ignore[arg-type]
    if len(joined) > _LARGEST_BYTES // 4:
        return False
    try:
        joined.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in joined


def _are_written_uuids(values: Sequence[object]) -> bool:
    """Whether every value is None or a UUID's text in its usual form."""
    if not set(map(type, values)) <= {str, _NONE}:
        return False
    # As above: they are str or None. Of one length, so that no two halves make a whole; each looked at once.
    texts: set[str] = {value for value in values if value is not None}  # type: ignore[misc]
    return set(map(len, texts)) <= {36} and _UUIDS.fullmatch("".join(texts)) is not None


_READY: dict[str, set[type]] = {
    "uuid": {UUID},
    "bool": {bool},
    "float8": {float, int},
    "numeric": {Decimal},
    "date": {date},
    "interval": {timedelta},
}


def _converter(column: Column) -> Callable[[object], object]:
    """How one value of this column is checked and converted."""
    if column.element_type is not None:
        inner = _CONVERTERS.get(column.element_type)
        return lambda value: _array(value, inner)
    if column.labels is not None:
        labels = column.labels
        return lambda value: _label(value, labels)
    if column.max_length is not None:
        limit = column.max_length
        return lambda value: _short_text(value, limit)
    return _CONVERTERS.get(column.type, _written)


def _type_error(value: object, wanted: str) -> _RefusedError:
    return _RefusedError(f"{_excerpt(value)} is {_article(type(value).__name__)}, not {wanted}")


def _excerpt(value: object) -> str:
    # Cut before it is spelled out: the value may be a gigabyte.
    shown = repr(value[:60] if isinstance(value, str | bytes | bytearray) else value)
    return shown if len(shown) <= 60 else shown[:57] + "..."


def _article(word: str) -> str:
    return f"{'an' if word[:1] in 'aeiou' else 'a'} {word}"


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _type_error(value, "text")
    _check_size(len(value))
    if "\0" in value:
        raise _RefusedError(f"text with a NUL character at {value.index(chr(0))}; Postgres cannot store it")
    try:
        _check_size(len(value.encode()))
    except UnicodeEncodeError as error:
        raise _RefusedError(f"text with a lone surrogate at {error.start}; it is not valid Unicode") from error
    return value


def _check_size(size_bytes: int) -> None:
    if size_bytes > _LARGEST_BYTES:
        raise _RefusedError(f"{size_bytes:,} bytes; Postgres stores at most about {_LARGEST_BYTES:,} in one field")


def _written(value: object) -> str:
    """What the server reads as a value of a type that has no form of ours: text as it is, a list as a vector."""
    if isinstance(value, list | tuple):
        return f"[{','.join(str(_float(part)) for part in value)}]"
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal | _ADDRESSES):
        raise _type_error(value, "text as Postgres reads it")
    return _text(str(value))


def _short_text(value: object, limit: int) -> str:
    text = _text(value)
    if len(text.rstrip(" ")) > limit:
        raise _RefusedError(f"text of {len(text)} characters, the column takes {limit}")
    return text


def _label(value: object, labels: frozenset[str]) -> str:
    text = _text(value)
    if text not in labels:
        raise _RefusedError(f"{_excerpt(text)} is not one of {', '.join(sorted(labels))}")
    return text


def _integer(limit: int) -> Callable[[object], int]:
    low = 0 if limit == 2**32 else -limit

    def convert(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise _type_error(value, "a whole number")
        if not low <= value < limit:
            raise _RefusedError(f"{value} is outside {low}..{limit - 1}")
        return int(value)

    return convert


def _float(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise _type_error(value, "a number")
    return float(value)


def _float4(value: object) -> float:
    number = _float(value)
    if math.isfinite(number) and abs(number) > _FLOAT4_MAX:
        raise _RefusedError(f"{number} is too large for a real")
    return number


def _numeric(value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        raise _type_error(value, "a number")
    try:
        return value if isinstance(value, Decimal) else Decimal(str(value))
    except InvalidOperation as error:
        raise _RefusedError(f"{_excerpt(value)} is not a number") from error


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise _type_error(value, "true or false")
    return value


def _uuid(value: object) -> UUID:
    if isinstance(value, UUID):
        return value
    if not isinstance(value, str):
        raise _type_error(value, "a UUID")
    return UUID(value)


def _moment(value: object) -> datetime:
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if not isinstance(value, datetime):
        raise _type_error(value, "a moment")
    if value.tzinfo is None:
        raise _RefusedError(f"{value.isoformat()} has no time zone; use datetime.now(UTC)")
    return value


def _local_moment(value: object) -> datetime:
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if not isinstance(value, datetime):
        raise _type_error(value, "a moment")
    if value.tzinfo is not None:
        raise _RefusedError(f"{value.isoformat()} has a time zone, the column keeps none")
    return value


def _date(value: object) -> date:
    if isinstance(value, str):
        return date.fromisoformat(value)
    if isinstance(value, datetime) or not isinstance(value, date):
        raise _type_error(value, "a date")
    return value


def _time(value: object) -> time:
    if isinstance(value, str):
        return time.fromisoformat(value)
    if not isinstance(value, time):
        raise _type_error(value, "a time")
    return value


def _interval(value: object) -> timedelta:
    if not isinstance(value, timedelta):
        raise _type_error(value, "a timedelta")
    return value


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise _type_error(value, "bytes")
    _check_size(memoryview(value).nbytes)
    return bytes(value)


def _quick_json(values: Sequence[object]) -> list[bytes | None] | None:
    """All values encoded, or None when one of them needs a closer look."""
    try:
        encoded = [None if value is None else wire_jsonb(value) for value in values]
    except orjson.JSONEncodeError:
        return None
    joined = b"".join(data for data in encoded if data is not None)
    if len(joined) > _LARGEST_BYTES // 4:
        return None
    return None if b"\\u0000" in joined or b"null" in joined else encoded


def _quick_moments(values: Sequence[object]) -> list[datetime] | None:
    """All texts read, or None when there is something else, or one needs a closer look."""
    if set(map(type, values)) != {str}:
        return None
    try:
        # The set of types has just been checked.
        moments = list(map(datetime.fromisoformat, values))  # type: ignore[arg-type]
    except ValueError:
        return None
    return None if None in set(map(_TIME_ZONE, moments)) else moments


def _json(value: object, encode: Callable[[object], bytes] = orjson.dumps) -> bytes:
    try:
        data = encode(value)
    except orjson.JSONEncodeError as error:
        raise _RefusedError(f"not JSON: {error}") from error
    _check_size(len(data))
    if b"\\u0000" in data and _has_nul(value):
        raise _RefusedError("JSON with a NUL character in a text; Postgres cannot store it")
    if b"null" in data and _has_no_number(value):
        raise _RefusedError("JSON knows neither NaN nor infinity")
    return data


def _has_nul(value: object) -> bool:
    if isinstance(value, str):
        return "\0" in value
    return any(map(_has_nul, _parts(value)))


def _has_no_number(value: object) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    return any(map(_has_no_number, _parts(value)))


def _parts(value: object) -> list[object]:
    if isinstance(value, Mapping):
        return [*value.keys(), *value.values()]
    return list(value) if isinstance(value, list | tuple) else []


def _array(value: object, inner: Callable[[object], object] | None) -> list[object]:
    if not isinstance(value, list | tuple | set | frozenset):
        raise _type_error(value, "a list")
    return [
        _array(part, inner)
        if isinstance(part, list | tuple)
        else (part if part is None or inner is None else inner(part))
        for part in value
    ]


_TEXTS = {"text", "varchar", "bpchar", "name"}
_CONVERTERS: dict[str, Callable[[object], object]] = {
    **dict.fromkeys(_TEXTS, _text),
    **{name: _integer(limit) for name, limit in _INTEGERS.items()},
    "float4": _float4,
    "float8": _float,
    "numeric": _numeric,
    "bool": _boolean,
    "uuid": _uuid,
    "timestamptz": _moment,
    "timestamp": _local_moment,
    "date": _date,
    "time": _time,
    "interval": _interval,
    "bytea": _bytes,
    "json": _json,
    "jsonb": partial(_json, encode=wire_jsonb),
}
_QUICK: dict[str, Callable[[Sequence[object]], Sequence[object] | None]] = {
    "jsonb": _quick_json,
    "timestamptz": _quick_moments,
}
