"""What a driver's error means: away, worth repeating, or the statement's own fault."""

from __future__ import annotations

import asyncpg
import pytest

from omninode.core.errors import DatabaseError, DatabaseUnavailableError, PoolExhaustedError
from omninode.storage.failures import as_database_error, translated

pytestmark = pytest.mark.unit

# Classes of SQLSTATE that are about the server, the connection or others who use it at the same time; every code that
# the driver knows in one of them is judged here.
_JUDGED_CLASSES = ("08", "25", "40", "53", "55", "57", "58", "72", "XX")
_AWAY = {
    *("08000", "08001", "08003", "08004", "08006", "08007", "08P01"),
    *("25006", "25P03", "40003"),
    *("53000", "53100", "53200", "53300"),
    *("57P01", "57P02", "57P03", "57P05"),
    *("58000", "58030"),
}
_REPEAT = {"40000", "40001", "40P01", "55P03", "72000"}
_FINAL = {
    *("25000", "25001", "25002", "25003", "25004", "25005", "25007", "25008", "25P01", "25P02", "25P04"),
    *("40002", "53400", "55000", "55006", "55P02", "55P04", "57000", "57014", "57P04"),
    *("58P01", "58P02", "58P03", "XX000", "XX001", "XX002"),
}


def _known() -> dict[str, type[asyncpg.PostgresError]]:
    """The driver's own class for each code of those classes."""
    found = vars(asyncpg.exceptions).values()
    errors = [kind for kind in found if isinstance(kind, type) and issubclass(kind, asyncpg.PostgresError)]
    return {kind.sqlstate: kind for kind in errors if str(kind.sqlstate).startswith(_JUDGED_CLASSES)}


def _judged(error: Exception) -> tuple[bool, bool]:
    ours = as_database_error(error, doing="it")
    assert ours is not None
    return isinstance(ours, DatabaseUnavailableError), ours.retryable


def test_every_code_about_the_server_is_judged() -> None:
    assert set(_known()) == _AWAY | _REPEAT | _FINAL


@pytest.mark.parametrize("code", sorted(_AWAY))
def test_away(code: str) -> None:
    error = _known()[code]("x")
    assert _judged(error) == (True, True)
    assert getattr(as_database_error(error, doing="it"), "sqlstate", None) == code


@pytest.mark.parametrize("code", sorted(_REPEAT))
def test_worth_repeating(code: str) -> None:
    assert _judged(_known()[code]("x")) == (False, True)


@pytest.mark.parametrize("code", sorted(_FINAL))
def test_would_fail_again(code: str) -> None:
    assert _judged(_known()[code]("x")) == (False, False)


@pytest.mark.parametrize("error", [asyncpg.UniqueViolationError("x"), asyncpg.UndefinedTableError("x")])
def test_the_statements_own_fault(error: Exception) -> None:
    assert _judged(error) == (False, False)


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.InternalClientError("got result for unknown protocol state 3"),  # after the server was killed
        asyncpg.InterfaceError("connection is closed"),
        ConnectionResetError("x"),
        BrokenPipeError("x"),
    ],
)
def test_a_lost_connection(error: Exception) -> None:
    assert _judged(error) == (True, True)


def test_a_schema_that_changed_under_a_prepared_statement_is_worth_repeating() -> None:
    assert _judged(asyncpg.InvalidCachedStatementError("cached plan must not change result type")) == (False, True)
    assert _judged(asyncpg.OutdatedSchemaCacheError("cache is outdated")) == (False, True)


def test_an_argument_the_driver_will_not_send_is_no_lost_connection_and_is_not_shown() -> None:
    error = asyncpg.DataError("invalid input for query argument $2: 'geh (eim' (an integer is required (got type str))")
    ours = as_database_error(error, doing="it")
    assert _judged(error) == (False, False)
    assert str(ours).endswith("invalid input for query argument $2 (an integer is required (got type str))")


@pytest.mark.parametrize(
    "kind",
    [asyncpg.ClientConfigurationError, asyncpg.UnsupportedClientFeatureError, asyncpg.UnsupportedServerFeatureError],
)
def test_what_the_driver_cannot_do_is_no_lost_connection(kind: type[asyncpg.InterfaceError]) -> None:
    assert _judged(kind("x")) == (False, False)


@pytest.mark.parametrize("kind", [asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError])
def test_a_shared_connection_names_the_setting(kind: type[asyncpg.PostgresError]) -> None:
    assert "POSTGRES_POOL_MODE=transaction" in str(as_database_error(kind("x"), doing="it"))


def test_errors_of_others_pass_untouched() -> None:
    with pytest.raises(PoolExhaustedError), translated("it"):
        raise PoolExhaustedError("x")
    assert as_database_error(ValueError("x"), doing="it") is None


def test_translated_error_comes_from_its_cause() -> None:
    cause = asyncpg.UndefinedTableError("no such thing")
    with pytest.raises(DatabaseError, match=r"it: .*no such thing") as caught, translated("it"):
        raise cause
    assert caught.value.__cause__ is cause
