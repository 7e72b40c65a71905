"""What a driver's error means: the database is away, try again, or the statement is at fault.

Decided by SQLSTATE (PostgreSQL manual, appendix A) and by class, never by message text.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from omninode.core.errors import ConfigurationError, DatabaseError, DatabaseUnavailableError, OmniNodeError
from omninode.storage.config import ConnectionConfig

__all__ = [
    "REPEATABLE",
    "answered",
    "as_database_error",
    "connecting",
    "is_data_error",
    "told_without_values",
    "translated",
]

# The server cannot serve anybody now, or has ended this connection: another, later, may do.
# 08 connection; 53 out of disk, memory or connections, but not 53400, a limit the statement runs into every time.
_UNAVAILABLE_CLASSES = ("08", "53")
_UNAVAILABLE = {
    "25006",  # read only: a standby, or a server that is being failed over
    "25P03",  # it ended a transaction that was idle for too long
    "40003",  # nobody knows whether the statement was completed
    "57P01",  # shut down
    "57P02",  # crashed, or another of its processes did
    "57P03",  # starting up or recovering
    "57P05",  # it ended a session that was idle for too long
    "58000",  # its system failed it
    "58030",  # its disk failed it
}
_STANDING_LIMIT = "53400"
# Rolled back for sure, for a conflict with others: the same transaction may succeed when repeated.
REPEATABLE = frozenset(
    {
        "40000",
        "40001",  # serialisation failure
        "40P01",  # deadlock
        "55P03",  # lock not available
        "72000",  # snapshot too old
    }
)
# A statement that was prepared is unknown, or its name is taken: the connection is shared behind our back.
_SHARED = {"26000", "42P05"}
# 22 data exception, 23 integrity constraint, 54000 a value beyond the server's limits: the row is at fault, and would
# be again.
_DATA_CODES = ("22", "23", "54000")

# The details of key violations begin like this; all others ("Failing row contains …") are nothing but values.
_KEY_DETAIL = re.compile(r"Key (\(.+?\))=\(")
_KEY_TAIL = re.compile(r"(?:already exists|is not present in table \S+|is still referenced from table \S+)\.$")

# What reaches us besides PostgresError: the driver's own state errors (it raises InternalClientError after the
# server was killed under it) and the socket's.
_LOST = (asyncpg.InterfaceError, asyncpg.InternalClientError, ConnectionError)
# Of its InterfaceErrors these are about what it will not send at all: an argument of the wrong type (a ValueError too;
# the driver has no public name for it), a thing that it or the server cannot do.
_MISUSE = (ValueError, asyncpg.UnsupportedClientFeatureError, asyncpg.UnsupportedServerFeatureError)
# What it says of an argument: number, value, reason. The value is the caller's and may be a secret.
_ARGUMENT = re.compile(r"invalid input for query argument (\$\d+): .*\(([^()]*(?:\([^()]*\)[^()]*)*)\)$", re.DOTALL)


def as_database_error(error: BaseException, *, doing: str) -> DatabaseError | None:
    """`error` as one of ours, or None when it is not about the database."""
    if isinstance(error, OmniNodeError):
        return None
    if isinstance(error, asyncpg.PostgresError):
        return _from_server(error, doing)
    if isinstance(error, asyncpg.OutdatedSchemaCacheError):
        return DatabaseError(f"{doing}: the schema changed meanwhile ({error})", retryable=True)
    if isinstance(error, asyncpg.InterfaceError) and isinstance(error, _MISUSE):
        return DatabaseError(f"{doing}: the driver refuses it: {_without_value(str(error))}")
    if isinstance(error, _LOST):
        return DatabaseUnavailableError(f"{doing}: the connection to the database was lost ({error})")
    return None


def _from_server(error: asyncpg.PostgresError, doing: str) -> DatabaseError:
    code = error.sqlstate or ""
    text = f"{doing}: the database answered {code or 'an error'}: {_without_value(str(error))}"
    if code in _SHARED:
        text += "; behind a proxy that shares connections between transactions, set POSTGRES_POOL_MODE=transaction"
    if code in _UNAVAILABLE or (code.startswith(_UNAVAILABLE_CLASSES) and code != _STANDING_LIMIT):
        return DatabaseUnavailableError(text, sqlstate=code)
    # The driver has prepared the statement for a schema that has changed since; it forgets that now.
    is_stale = isinstance(error, asyncpg.InvalidCachedStatementError)
    return DatabaseError(text, sqlstate=code or None, retryable=is_stale or code in REPEATABLE)


def _without_value(text: str) -> str:
    argument = _ARGUMENT.match(text)
    return text if argument is None else f"invalid input for query argument {argument[1]} ({argument[2]})"


@contextmanager
def connecting(config: ConnectionConfig, *, doing: str | None = None) -> Iterator[None]:
    """Run the body, which connects: no way there is DatabaseUnavailableError, a refused login ConfigurationError."""
    prefix = f"{doing}: " if doing else ""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise ConfigurationError(
            f"{prefix}{config.display} shows a certificate that is not trusted: {error.verify_message}; set "
            "POSTGRES_SSLROOTCERT to the certificate of who issued it, and POSTGRES_HOST to the name it was issued for"
        ) from error
    except (OSError, TimeoutError) as error:
        raise DatabaseUnavailableError(
            f"{prefix}no connection to {config.display}: {str(error) or type(error).__name__}; is the server running?"
        ) from error
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as error:
        raise ConfigurationError(f"{prefix}{config.display} refuses us: {error}; {_remedy(error, config)}") from error
    except (asyncpg.PostgresError, *_LOST) as error:
        ours = as_database_error(error, doing=doing or f"connecting to {config.display}")
        assert ours is not None
        raise ours from error


def _remedy(error: asyncpg.PostgresError, config: ConnectionConfig) -> str:
    match error:
        case asyncpg.InvalidCatalogNameError():
            return f"create the database {config.database!r}, or set POSTGRES_DB to one that exists"
        case asyncpg.InvalidPasswordError():
            return f"set POSTGRES_PASSWORD to the password of {config.user!r}, or POSTGRES_USER to another user"
        case _:
            return f"set POSTGRES_USER to a user that may log in there, or let the server admit {config.user!r}"


def is_data_error(error: BaseException) -> bool:
    """Whether the rows are at fault, so that writing them again would fail again."""
    code = getattr(error, "sqlstate", None)
    return isinstance(code, str) and code.startswith(_DATA_CODES)


def told_without_values(error: asyncpg.PostgresError) -> str:
    """What the server says about a row, with the columns of a key it names but not what the row holds there."""
    message = str(error.args[0]) if error.args else type(error).__name__
    detail = str(getattr(error, "detail", None) or "")
    key, tail = _KEY_DETAIL.match(detail), _KEY_TAIL.search(detail)
    return message if key is None else f"{message} (key {key[1]}{f' {tail[0][:-1]}' if tail else ''})"


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Run the body; what the driver raises comes out as DatabaseError, from its cause.

    An error in which a cancellation of the body ended, as when there is no connection left to roll back on, comes out
    as that cancellation.
    """
    handled = sys.exception()
    try:
        yield
    except (asyncpg.PostgresError, *_LOST) as error:
        cancelled = _cancellation_before(error, handled)
        if cancelled is not None:
            raise asyncio.CancelledError(*cancelled.args) from error
        ours = as_database_error(error, doing=doing)
        if ours is None:
            raise
        raise ours from error


def _cancellation_before(error: BaseException, handled: BaseException | None) -> asyncio.CancelledError | None:
    """The cancellation in whose place `error` was raised, since `handled` was; None when there is none, or it ran out of time."""
    before = error.__context__
    while before is not None and before is not handled and not isinstance(before, TimeoutError):
        if isinstance(before, asyncio.CancelledError):
            return before
        before = before.__context__
    return None


@contextmanager
def answered(doing: str) -> Iterator[None]:
    """Run the body, which waits for the driver alone: as `translated`, and its silence is DatabaseUnavailableError."""
    with translated(doing):
        try:
            yield
        except TimeoutError as error:
            if isinstance(error, OmniNodeError):
                raise
            raise DatabaseUnavailableError(f"{doing}: the database does not answer") from error
