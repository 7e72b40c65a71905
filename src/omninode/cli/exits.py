"""Exit codes, and how an error is shown: one line that says what to do."""

from __future__ import annotations

import sys
from enum import IntEnum

import typer

from omninode.core.errors import (
    AuthenticationError,
    CallerError,
    ConfigurationError,
    DatabaseUnavailableError,
    InputRefusedError,
    InvalidArgumentError,
    MalformedAnswerError,
    OmniNodeError,
    ProviderError,
    QuorumFailedError,
    RefusedError,
)
from omninode.telemetry.redact import redact_error, redact_text

__all__ = ["Exit", "complain", "exit_code", "show_error"]


# Newer releases of Typer bring a click of their own; its public names lead to whichever click it uses.
_UsageError = typer.BadParameter.__mro__[1]


class Exit(IntEnum):
    """What the process says when it ends; the numbers are stable."""

    DONE = 0
    FAILED = 1
    REFUSED_INPUT = 2
    CONFIGURATION = 3
    UNREACHABLE = 4
    INTERRUPTED = 130


def exit_code(error: BaseException) -> Exit:
    """The exit code that stands for `error`."""
    match error:
        case QuorumFailedError(__cause__=cause) if cause is not None:
            # Not one voter could be asked: that is about the models, not about the plan.
            return exit_code(cause)
        case InputRefusedError() | InvalidArgumentError():
            return Exit.REFUSED_INPUT
        case MalformedAnswerError():
            # The model was reached; what it says is of no use.
            return Exit.FAILED
        case ConfigurationError() | CallerError() | AuthenticationError():
            return Exit.CONFIGURATION
        case ProviderError() | DatabaseUnavailableError() | RefusedError():
            return Exit.UNREACHABLE
        case KeyboardInterrupt() | typer.Abort():
            return Exit.INTERRUPTED
        case _:
            return Exit.REFUSED_INPUT if isinstance(error, _UsageError) else Exit.FAILED


def show_error(error: BaseException, *, with_traceback: bool) -> None:
    """Print `error` on standard error: its traceback when asked for, one line otherwise."""
    if with_traceback:
        print(redact_error(error), end="", file=sys.stderr)  # noqa: T201 - this is the place that prints
        return
    complain(_one_line(error))


def complain(text: str) -> None:
    """Say on standard error, in one line and without secrets, what went wrong and what to do."""
    print(f"omninode: {' '.join(redact_text(text).split())}", file=sys.stderr)  # noqa: T201 - this is the place that prints


def _one_line(error: BaseException) -> str:
    if isinstance(error, OmniNodeError):
        return error.message
    if isinstance(error, _UsageError):
        assert hasattr(error, "format_message")
        return f"{error.format_message()} (see --help)"
    return f"unexpected {type(error).__name__}: {error}; --debug shows where, please report it"
