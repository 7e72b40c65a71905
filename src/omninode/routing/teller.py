"""How a call is told of once it has ended."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from omninode.core import current
from omninode.core.deadline import Deadline
from omninode.core.errors import (
    AttemptTimeoutError,
    DeadlineExceededError,
    MalformedAnswerError,
    OmniNodeError,
    ProviderError,
)
from omninode.core.events import CallFinished
from omninode.routing.completion import Completion
from omninode.routing.deployment import DeploymentConfig
from omninode.routing.failover import Trail

__all__ = ["Teller"]


@dataclass(slots=True, kw_only=True)
class Teller:
    """Makes the event of one call; `first` stands for a call that failed before any deployment was asked."""

    role: str
    agent_id: str | None
    task_id: str | None
    first: DeploymentConfig
    trail: Trail

    def success(self, done: Completion) -> CallFinished:
        """The event of a call that was answered, in the scope of whoever made it."""
        scope = current.scope()
        ttft_s = done.answer.ttft_s if done.attempts else None
        return CallFinished(
            run_id=scope.run_id,
            phase=scope.phase,
            agent_id=self.agent_id or scope.agent_id,
            task_id=self.task_id or scope.task_id,
            role=self.role,
            model=done.model,
            provider=done.provider,
            deployment=done.deployment,
            ok=True,
            duration_ms=done.duration_ms,
            ttft_ms=None if ttft_s is None else ttft_s * 1000,
            attempts=done.attempts,
            tokens_in=done.usage.input_tokens,
            tokens_out=done.usage.output_tokens,
            cost_uusd=done.cost.micro_usd if done.cost.is_complete else None,
            cache=done.cache,
            cache_key=done.cache_key,
            degraded=done.degraded,
            is_simulated=done.is_simulated,
        )

    def failure(self, error: BaseException, *, duration_ms: float) -> CallFinished:
        """The event of a call that was not."""
        scope = current.scope()
        asked = self.trail.last or self.first
        # An answer that never came whole may be billed all the same; an error answer or a refusal is not.
        is_free = isinstance(error, OmniNodeError) and not isinstance(
            error, AttemptTimeoutError | MalformedAnswerError | DeadlineExceededError
        )
        return CallFinished(
            run_id=scope.run_id,
            phase=scope.phase,
            agent_id=self.agent_id or scope.agent_id,
            task_id=self.task_id or scope.task_id,
            role=self.role,
            model=asked.model,
            provider=asked.provider,
            deployment=asked.name,
            ok=False,
            duration_ms=duration_ms,
            attempts=self.trail.attempts,
            cost_uusd=0 if is_free else None,
            cache_key=self.trail.cache_key,
            status=error.status if isinstance(error, ProviderError) else None,
            error_class=_error_class(error, scope.deadline),
            is_simulated=asked.is_simulated,
        )


def _error_class(error: BaseException, deadline: Deadline | None) -> str:
    # At a deadline somebody further out may cancel first: that is no call that was not needed any more.
    if isinstance(error, asyncio.CancelledError) and deadline is not None and deadline.has_passed:
        return DeadlineExceededError.__name__
    return type(error).__name__
