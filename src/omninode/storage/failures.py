"""What a driver's error means: the database is away, try again, or the statement is at fault.

Decided by SQLSTATE (PostgreSQL manual, appendix A) and by class, never by message text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from omninode.core.errors import ConfigurationError, DatabaseError, DatabaseUnavailableError, OmniNodeError
from omninode.storage.config import ConnectionConfig

__all__ = ["answered", "as_database_error", "connecting", "is_data_error", "told_without_values", "translated"]

# 08 connection; 53 out of disk, memory or connections; 57P01-57P03 shut down, crashed, starting up.
_UNAVAILABLE_CLASSES = ("08", "53")
_UNAVAILABLE = {"57P01", "57P02", "57P03"}
# Serialisation failure, deadlock, lock not available: the same transaction may succeed when repeated.
_REPEATABLE = {"40001", "40P01", "55P03"}
# 22 data exception, 23 integrity constraint, 54000 a value beyond the server's limits: the row is at fault, and would
# be again.
_DATA_CODES = ("22", "23", "54000")

# The details of key violations begin like this; all others ("Failing row contains …") are nothing but values.
_KEY_DETAIL = re.compile(r"Key (\(.+?\))=\(")
_KEY_TAIL = re.compile(r"(?:already exists|is not present in table \S+|is still referenced from table \S+)\.$")

# What reaches us besides PostgresError: the driver's own state errors (it raises InternalClientError after the
# server was killed under it) and the socket's.
_LOST = (asyncpg.InterfaceError, asyncpg.InternalClientError, ConnectionError)


def as_database_error(error: BaseException, *, doing: str) -> DatabaseError | None:
    """`error` as one of ours, or None when it is not about the database."""
    if isinstance(error, OmniNodeError):
        return None
    if isinstance(error, asyncpg.PostgresError):
        return _from_server(error, doing)
    if isinstance(error, _LOST):
        return DatabaseUnavailableError(f"{doing}: the connection to the database was lost ({error})")
    return None


def _from_server(error: asyncpg.PostgresError, doing: str) -> DatabaseError:
    code = error.sqlstate or ""
    text = f"{doing}: the database answered {code or 'an error'}: {error}"
    if code in _UNAVAILABLE or code.startswith(_UNAVAILABLE_CLASSES):
        return DatabaseUnavailableError(text, sqlstate=code)
    return DatabaseError(text, sqlstate=code or None, retryable=code in _REPEATABLE)


@contextmanager
def connecting(config: ConnectionConfig, *, doing: str | None = None) -> Iterator[None]:
    """Run the body, which connects: no way there is DatabaseUnavailableError, a refused login ConfigurationError."""
    prefix = f"{doing}: " if doing else ""
    try:
        yield
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
    """Run the body; what the driver raises comes out as DatabaseError, from its cause."""
    try:
        yield
    except (asyncpg.PostgresError, *_LOST) as error:
        ours = as_database_error(error, doing=doing)
        if ours is None:
            raise
        raise ours from error


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
