"""Every error OmniNode raises, as one tree.

    OmniNodeError
    ├── CallerError                     the caller can fix it; the same call again fails again
    │   ├── ConfigurationError          a setting is missing, contradictory or out of range
    │   ├── InvalidArgumentError        a value passed to a public function is outside its range
    │   ├── InputRefusedError           validation refused the prompt or the tasks
    │   └── BatchDataError              rows that cannot be written as they are
    ├── RemoteError                     the other side failed
    │   ├── ProviderError               a model provider; carries the HTTP status
    │   │   ├── AuthenticationError     401, 403
    │   │   ├── RequestRejectedError    other 4xx: the request itself is at fault
    │   │   ├── ThrottledError          429, 503, 529: come back later
    │   │   ├── ProviderUnavailableError  no connection, 5xx
    │   │   ├── AttemptTimeoutError     no answer within the attempt's timeout
    │   │   └── MalformedAnswerError    an answer that breaks the protocol or was cut off
    │   ├── DatabaseError
    │   │   ├── DatabaseUnavailableError  cannot connect, or the connection was lost
    │   │   └── MigrationError          the schema cannot be brought to this version
    │   └── SourceError                 a context source
    ├── RefusedError                    we did not try, to protect the caller or the other side
    │   ├── BreakerOpenError
    │   ├── BulkheadFullError
    │   ├── RateLimitedError
    │   └── PoolExhaustedError
    ├── DeadlineExceededError           the time the caller allowed is over
    ├── SpoolError                      a row could not be made as safe as was asked
    ├── QuorumFailedError               the models voted the plan down, or too few could vote
    └── DefectError                     our own mistake; please report it

Two questions choose the class: whose fault is it, and does trying again help. The answer to the second is the
attribute `retryable`; it is never guessed from the text of a message.
"""

from __future__ import annotations

__all__ = [
    "AttemptTimeoutError",
    "AuthenticationError",
    "BatchDataError",
    "BreakerOpenError",
    "BulkheadFullError",
    "CallerError",
    "ConfigurationError",
    "DatabaseError",
    "DatabaseUnavailableError",
    "DeadlineExceededError",
    "DefectError",
    "InputRefusedError",
    "InvalidArgumentError",
    "MalformedAnswerError",
    "MigrationError",
    "OmniNodeError",
    "PoolExhaustedError",
    "ProviderError",
    "ProviderUnavailableError",
    "QuorumFailedError",
    "RateLimitedError",
    "RefusedError",
    "RemoteError",
    "RequestRejectedError",
    "SourceError",
    "SpoolError",
    "ThrottledError",
]


class OmniNodeError(Exception):
    """The root: catch it to catch everything OmniNode raises on purpose.

    `retryable` says whether the same call may succeed later; `retry_after_s` is the wait the other side (or we)
    asked for, in seconds, where one is known. Errors survive pickling with all their attributes.
    """

    retryable: bool = False

    def __init__(self, message: str, *, retryable: bool | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        if retryable is not None:
            self.retryable = retryable
        self.retry_after_s = retry_after_s

    @property
    def message(self) -> str:
        """The one-line explanation, fit to be shown to a user."""
        return str(self.args[0]) if self.args else type(self).__name__


class CallerError(OmniNodeError):
    """The caller can fix it; the same call again fails again."""


class ConfigurationError(CallerError):
    """A setting is missing, contradictory or out of range."""


class InvalidArgumentError(CallerError, ValueError):
    """A value passed to a public function is outside its range."""


class InputRefusedError(CallerError):
    """Validation refused the prompt or the tasks; `findings` holds what it found."""

    def __init__(self, message: str, *, findings: tuple[object, ...] = ()) -> None:
        super().__init__(message)
        self.findings = findings


class BatchDataError(CallerError):
    """Rows that cannot be written as they are: unknown table or column, ragged rows, wrong types.

    `table`, `column` and `row` (index in the caller's data) name the place as far as it is known.
    """

    def __init__(
        self, message: str, *, table: str | None = None, column: str | None = None, row: int | None = None
    ) -> None:
        super().__init__(message)
        self.table = table
        self.column = column
        self.row = row


class RemoteError(OmniNodeError):
    """The other side failed."""


class ProviderError(RemoteError):
    """A model provider failed; `status` is the HTTP status, None where no answer came."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        retryable: bool | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, retryable=retryable, retry_after_s=retry_after_s)
        self.status = status


class AuthenticationError(ProviderError):
    """The provider does not accept our key (401, 403)."""


class RequestRejectedError(ProviderError):
    """The provider refuses this request and would refuse it again (400, 404, 413, 422)."""


class ThrottledError(ProviderError):
    """The provider asks us to slow down (429, 503, 529)."""

    retryable = True


class ProviderUnavailableError(ProviderError):
    """The provider cannot be reached, or answers 5xx."""

    retryable = True


class AttemptTimeoutError(ProviderError):
    """One attempt got no answer in its own time; another attempt may."""

    retryable = True


class MalformedAnswerError(ProviderError):
    """The answer breaks the protocol or was cut off in the middle."""

    retryable = True


class DatabaseError(RemoteError):
    """The database refused a statement, or failed; `sqlstate` is its five-character code where one came."""

    def __init__(
        self,
        message: str,
        *,
        sqlstate: str | None = None,
        retryable: bool | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, retryable=retryable, retry_after_s=retry_after_s)
        self.sqlstate = sqlstate


class DatabaseUnavailableError(DatabaseError):
    """The database cannot be reached, is starting or recovering, or the connection was lost."""

    retryable = True


class MigrationError(DatabaseError):
    """The schema cannot be brought to the version this release needs."""


class SourceError(RemoteError):
    """A context source failed; the run goes on without it."""


class RefusedError(OmniNodeError):
    """We did not try, to protect the caller or the other side."""


class BreakerOpenError(RefusedError):
    """The breaker named `breaker` is open; `retry_after_s` says when it will let a probe through."""

    def __init__(self, message: str, *, breaker: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.breaker = breaker


class BulkheadFullError(RefusedError):
    """All permits are taken and the waiting line is full."""


class RateLimitedError(RefusedError):
    """We send less than was asked for: a rate limit or a throttle of our own; `retry_after_s` where it is known."""

    retryable = True


class PoolExhaustedError(RefusedError):
    """No database connection of the lane came free in time; `size` and `in_use` count the places of that lane."""

    def __init__(
        self,
        message: str,
        *,
        lane: str | None = None,
        size: int = 0,
        in_use: int = 0,
        oldest_holder: str | None = None,
    ) -> None:
        super().__init__(message, retryable=True)
        self.lane = lane
        self.size = size
        self.in_use = in_use
        self.oldest_holder = oldest_holder


class DeadlineExceededError(OmniNodeError, TimeoutError):
    """The time the caller allowed is over."""


class SpoolError(OmniNodeError):
    """A row for the database could not be made as safe as was asked.

    With `is_kept` it is still in memory and will be written unless the process ends first; otherwise it was dropped.
    """

    def __init__(self, message: str, *, is_kept: bool = False) -> None:
        super().__init__(message)
        self.is_kept = is_kept


class QuorumFailedError(OmniNodeError):
    """The models voted the plan down, or too few of them could vote; `deficiencies` says what they found."""

    def __init__(self, message: str, *, deficiencies: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.deficiencies = deficiencies


class DefectError(OmniNodeError):
    """Our own mistake: an invariant that should always hold does not. Please report it."""
