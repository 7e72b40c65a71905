"""The one way to a model: a call names a role, the router finds a deployment that answers."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from omninode.core import current
from omninode.core.clock import Clock, SystemClock
from omninode.core.errors import ConfigurationError, ProviderError
from omninode.core.events import CallFinished, EventSink, NullSink
from omninode.providers.http import HttpClient
from omninode.providers.messages import ChatAnswer, ChatRequest
from omninode.providers.openai import OpenAIProvider
from omninode.providers.pricing import PriceBook
from omninode.providers.provider import Provider
from omninode.routing.completion import Completion
from omninode.routing.deployment import DeploymentConfig

__all__ = ["Router"]


class Router:
    """Answers calls by role. Safe to use concurrently; close it, or use it as an async context manager."""

    def __init__(
        self,
        deployments: Sequence[DeploymentConfig],
        *,
        http: HttpClient,
        prices: PriceBook | None = None,
        clock: Clock | None = None,
        sink: EventSink | None = None,
    ) -> None:
        self._deployments = tuple(deployments)
        self._prices = prices or PriceBook()
        self._clock = clock or SystemClock()
        self._sink = sink or NullSink()
        self._providers: dict[str, Provider] = {
            entry.name: OpenAIProvider(
                entry.base_url, entry.api_key, http=http, name=entry.name, timeout_s=entry.timeout_s
            )
            for entry in self._deployments
        }

    def deployments(self, role: str | None = None) -> tuple[DeploymentConfig, ...]:
        """The deployments that may play `role`, all of them for None."""
        return tuple(entry for entry in self._deployments if role is None or role in entry.roles)

    async def complete(
        self,
        request: ChatRequest,
        *,
        role: str,
        deployment: str | None = None,
        agent_id: str | None = None,
        task_id: str | None = None,
        use_cache: bool = True,  # noqa: ARG002 - the caches come next
    ) -> Completion:
        """The answer of a deployment that may play `role`, or of the one named."""
        chosen = next(
            (entry for entry in self.deployments(role) if deployment is None or entry.name == deployment), None
        )
        if chosen is None:
            raise ConfigurationError(f"no deployment may play the role {role!r}; declare one")
        started = self._clock.monotonic()
        try:
            answer = await self._providers[chosen.name].complete(request, model=chosen.model)
        except ProviderError as error:
            self._tell(chosen, role=role, started=started, task=(agent_id, task_id), error=error)
            raise
        cost = self._prices.cost(chosen.provider, chosen.model, answer.usage)
        done = Completion(
            text=answer.text,
            answer=answer,
            deployment=chosen.name,
            model=answer.model,
            provider=chosen.provider,
            usage=answer.usage,
            cost=cost,
            attempts=1,
            cache="off",
            duration_ms=(self._clock.monotonic() - started) * 1000,
            is_simulated=chosen.is_simulated,
        )
        self._tell(chosen, role=role, started=started, task=(agent_id, task_id), done=done)
        return done

    def _tell(
        self,
        chosen: DeploymentConfig,
        *,
        role: str,
        started: float,
        task: tuple[str | None, str | None],
        done: Completion | None = None,
        error: ProviderError | None = None,
    ) -> None:
        scope = current.scope()
        answer: ChatAnswer | None = done.answer if done else None
        self._sink.emit(
            CallFinished(
                run_id=scope.run_id,
                phase=scope.phase,
                role=role,
                agent_id=task[0] or scope.agent_id,
                task_id=task[1] or scope.task_id,
                model=chosen.model,
                provider=chosen.provider,
                deployment=chosen.name,
                ok=error is None,
                duration_ms=(self._clock.monotonic() - started) * 1000,
                tokens_in=answer.usage.input_tokens if answer else 0,
                tokens_out=answer.usage.output_tokens if answer else 0,
                cost_uusd=done.cost.micro_usd if done and done.cost.is_complete else None,
                status=error.status if error else None,
                error_class=type(error).__name__ if error else None,
                is_simulated=chosen.is_simulated,
            )
        )

    async def close(self) -> None:
        """Close the providers; closing twice is harmless."""
        for provider in self._providers.values():
            await provider.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
