"""What is served when a call has failed for good, never without saying so.

A fallback answers for faults of the other side, refusals of our own and passed deadlines. A client fault (a wrong
key, a refused request, a bug) is shown to the caller instead: served over, it would never be found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import isawaitable, iscoroutine
from typing import Any

from omninode.core.errors import DeadlineExceededError, InvalidArgumentError, RefusedError
from omninode.resilience.classify import FAILURES, Classifier, classify, outcome_of
from omninode.resilience.ranges import require_callable

__all__ = ["Fallback", "FallbackStatistics"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FallbackStatistics:
    """What a fallback has done since it was made."""

    label: str
    served: int
    failed: int
    """Calls for which the fallback failed as well."""


class Fallback:
    """Answers in place of a failed call with `func(error, *args, **kwargs)`, sync or async.

    `label` is what the answer is called wherever it shows as degraded; the name of `func` unless given. `classify` says
    which errors are the caller's own and are raised. `served` and `failed` count.
    """

    # Any: the value stands in for that of a function whose type is only known where it is called.
    def __init__(self, func: Callable[..., Any], *, label: str | None = None, classify: Classifier = classify) -> None:
        require_callable("Fallback", "func", func)
        self.label = label or getattr(func, "__name__", None) or type(func).__name__
        self._func = func
        self._classify = classify
        self.served = 0
        self.failed = 0

    def answers_for(self, error: Exception) -> bool:
        """Whether this is an error to be served over."""
        return isinstance(error, RefusedError | DeadlineExceededError) or outcome_of(self._classify, error) in FAILURES

    def statistics(self) -> FallbackStatistics:
        """What it has done so far."""
        return FallbackStatistics(label=self.label, served=self.served, failed=self.failed)

    # Any: see `__init__`.
    async def serve(self, error: Exception, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The degraded value; raises `error`, with a note, when the fallback fails as well."""
        try:
            value = self._func(error, *args, **kwargs)
            if isawaitable(value):
                value = await value
        except Exception as failure:  # noqa: BLE001 - border: user-supplied callback
            self.failed += 1
            error.add_note(f"omninode: the fallback {self.label!r} failed too, with {failure!r}")
            raise error from error.__cause__
        self.served += 1
        return value

    # Any: see `__init__`.
    def serve_blocking(self, error: Exception, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The same as `serve` for a plain function, whose fallback has to be plain as well."""
        try:
            value = self._func(error, *args, **kwargs)
            if iscoroutine(value):
                value.close()
                raise InvalidArgumentError(f"the fallback {self.label!r} is async and the call is not")  # noqa: TRY301
        except Exception as failure:  # noqa: BLE001 - border: user-supplied callback
            self.failed += 1
            error.add_note(f"omninode: the fallback {self.label!r} failed too, with {failure!r}")
            raise error from error.__cause__
        self.served += 1
        return value
