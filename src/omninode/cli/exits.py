"""Exit codes, and how an error is shown: one line that says what to do."""

from __future__ import annotations

import sys
import traceback
from enum import IntEnum

import click

from omninode.core.errors import (
    CallerError,
    ConfigurationError,
    DatabaseUnavailableError,
    DeadlineExceededError,
    InputRefusedError,
    InvalidArgumentError,
    OmniNodeError,
    ProviderError,
    RefusedError,
)

__all__ = ["Exit", "exit_code", "show_error"]


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
        case InputRefusedError() | click.UsageError():
            return Exit.REFUSED_INPUT
        case InvalidArgumentError():
            return Exit.REFUSED_INPUT
        case ConfigurationError() | CallerError():
            return Exit.CONFIGURATION
        case ProviderError() | DatabaseUnavailableError() | RefusedError():
            return Exit.UNREACHABLE
        case KeyboardInterrupt() | click.Abort():
            return Exit.INTERRUPTED
        case DeadlineExceededError():
            return Exit.FAILED
        case _:
            return Exit.FAILED


def show_error(error: BaseException, *, with_traceback: bool) -> None:
    """Print `error` on standard error: its traceback when asked for, one line otherwise."""
    if with_traceback:
        traceback.print_exception(error, file=sys.stderr)
        return
    print(f"omninode: {_one_line(error)}", file=sys.stderr)  # noqa: T201 - this is the place that prints


def _one_line(error: BaseException) -> str:
    if isinstance(error, OmniNodeError):
        return " ".join(error.message.split())
    if isinstance(error, click.ClickException):
        return f"{error.format_message()} (see --help)"
    return f"unexpected {type(error).__name__}: {' '.join(str(error).split())}; --debug shows where, please report it"
