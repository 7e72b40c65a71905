"""Named statements, and what a driver's error means."""

from __future__ import annotations

import asyncpg
import pytest

from omninode.core.errors import DatabaseError, DatabaseUnavailableError, DefectError, PoolExhaustedError
from omninode.storage.failures import as_database_error, translated
from omninode.storage.queries import Queries, parse_statements

pytestmark = pytest.mark.unit


def test_statements_are_split_by_their_names() -> None:
    text = "-- What it is about.\n\n-- name: one\nSELECT 1;\n\n-- name: two\n-- a comment\nSELECT\n  2;\n"
    assert parse_statements(text, file="f") == {"one": "SELECT 1", "two": "-- a comment\nSELECT\n  2"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SELECT 1;\n-- name: one\nSELECT 1;", "before the first"),
        ("-- name: one\nSELECT 1;\n-- name: one\nSELECT 2;", "repeated"),
        ("-- name: one\n\n-- name: two\nSELECT 2;", "'one' is empty"),
    ],
)
def test_malformed_file_is_a_defect(text: str, message: str) -> None:
    with pytest.raises(DefectError, match=message):
        parse_statements(text, file="f")


def test_every_file_of_the_package_can_be_read() -> None:
    queries = Queries()
    for file in Queries.files():
        with pytest.raises(DefectError, match="has no statement 'nothing_of_this_name'"):
            queries.text(f"{file}.nothing_of_this_name")


@pytest.mark.parametrize("name", ["../secrets.x", "nope.x", "x", ""])
def test_unknown_file_is_a_defect(name: str) -> None:
    with pytest.raises(DefectError):
        Queries().text(name)


@pytest.mark.parametrize(
    ("error", "is_unavailable", "is_retryable"),
    [
        (asyncpg.AdminShutdownError("x"), True, True),
        (asyncpg.CannotConnectNowError("x"), True, True),
        (asyncpg.TooManyConnectionsError("x"), True, True),
        (asyncpg.DiskFullError("x"), True, True),
        (asyncpg.ConnectionDoesNotExistError("x"), True, True),
        (asyncpg.InternalClientError("x"), True, True),
        (asyncpg.InterfaceError("connection is closed"), True, True),
        (ConnectionResetError("x"), True, True),
        (asyncpg.DeadlockDetectedError("x"), False, True),
        (asyncpg.SerializationError("x"), False, True),
        (asyncpg.LockNotAvailableError("x"), False, True),
        (asyncpg.UniqueViolationError("x"), False, False),
        (asyncpg.UndefinedTableError("x"), False, False),
        (asyncpg.QueryCanceledError("x"), False, False),
    ],
)
def test_driver_errors_are_classified(error: Exception, is_unavailable: bool, is_retryable: bool) -> None:
    ours = as_database_error(error, doing="it")
    assert ours is not None
    assert isinstance(ours, DatabaseUnavailableError) is is_unavailable
    assert ours.retryable is is_retryable


def test_errors_of_others_pass_untouched() -> None:
    with pytest.raises(PoolExhaustedError), translated("it"):
        raise PoolExhaustedError("x")
    assert as_database_error(ValueError("x"), doing="it") is None


def test_translated_error_comes_from_its_cause() -> None:
    cause = asyncpg.UndefinedTableError("no such thing")
    with pytest.raises(DatabaseError, match=r"it: .*no such thing") as caught, translated("it"):
        raise cause
    assert caught.value.__cause__ is cause
