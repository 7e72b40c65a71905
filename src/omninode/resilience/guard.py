"""A breaker around a block of code instead of a call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from omninode.resilience.breaker import CircuitBreaker
from omninode.resilience.classify import Outcome, outcome_of

__all__ = ["permitted"]


@asynccontextmanager
async def permitted(breaker: CircuitBreaker | None) -> AsyncIterator[None]:
    """Run the body with a permit of `breaker` (none without one), given back with how the body ends."""
    permit = None if breaker is None else breaker.admit()
    try:
        yield
    except BaseException as error:
        if permit is not None and breaker is not None:
            permit.release(outcome_of(breaker.config.classify, error), cause=type(error).__name__)
        raise
    if permit is not None:
        permit.release(Outcome.SUCCESS)
