"""A deployment whose answer is ready at once: what is left is the price of everything the router puts around a call."""

from __future__ import annotations

from omninode.bench.peers import Call
from omninode.core.clock import SystemClock
from omninode.core.events import NullSink
from omninode.core.usage import Usage
from omninode.providers.http import HttpClient
from omninode.providers.messages import ChatAnswer, ChatRequest, Message
from omninode.providers.openai import OpenAIProvider
from omninode.resilience.breaker import CircuitBreaker
from omninode.routing.deployment import Deployment, DeploymentConfig, RouterSettings

__all__ = ["ready_deployment"]

_URL, _MODEL = "http://127.0.0.1/v1", "ready"
_ANSWER = ChatAnswer(text="ready", model=_MODEL, finish_reason="stop", usage=Usage(), duration_s=0.0)


class _Ready(OpenAIProvider):
    """Answers before anything is sent."""

    async def complete(self, request: ChatRequest, *, model: str) -> ChatAnswer:  # noqa: ARG002 - it asks nobody
        return _ANSWER


def ready_deployment() -> Call:
    """A call of such a deployment, protected as shipped, whatever parts that is made of; no event sink."""
    settings, clock = RouterSettings(), SystemClock()
    deployment = Deployment(
        DeploymentConfig(name="ready", protocol="openai", base_url=_URL, model=_MODEL),
        _Ready(_URL, None, http=HttpClient()),
        settings=settings,
        breaker=CircuitBreaker("ready", settings.breaker, clock=clock),
        clock=clock,
        sink=NullSink(),
    )
    request = ChatRequest(messages=(Message(role="user", content="ready?"),))

    async def answer() -> object:
        outcome = await deployment.answer(request, is_hasty=False)
        if outcome.error is not None:
            raise outcome.error
        return outcome.value

    return answer
