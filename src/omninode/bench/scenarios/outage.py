"""What users see of an outage when another deployment could answer: with the router, and without."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from omninode.bench.measure import Spread
from omninode.bench.scenarios.load import many_calls
from omninode.bench.surroundings import Surroundings
from omninode.providers.http import HttpClient
from omninode.providers.messages import ChatRequest, Message
from omninode.providers.openai.client import OpenAIProvider
from omninode.routing.deployment import DeploymentConfig
from omninode.routing.router import Router
from omninode.simulation.profile import Faults, Latency, ModelProfile
from omninode.simulation.server import SimulatedModels

__all__ = ["failures_cut"]

_WIDTH = 10
_PROFILES = tuple(ModelProfile(name=name, latency=Latency(median_s=0.01)) for name in ("first", "second"))
_Ask = Callable[[ChatRequest], Awaitable[object]]


async def failures_cut(http: HttpClient, room: Surroundings) -> Spread:
    """The share of the failures of bare calls that the router spares its users, in percent."""
    calls = room.scaled(300, least=40)
    return Spread.of([await _cut(http, calls, seed=seed) for seed in range(room.scaled(3))])


async def _cut(http: HttpClient, calls: int, *, seed: int) -> float:
    async with AsyncExitStack() as stack:
        models = await stack.enter_async_context(SimulatedModels(_PROFILES, seed=seed))
        entries = [{**entry, "roles": frozenset(entry["roles"])} for entry in models.deployments()]
        router = await stack.enter_async_context(Router([DeploymentConfig(**entry) for entry in entries], http=http))
        bare = OpenAIProvider(models.base_url, None, http=http)

        def ask_first(request: ChatRequest) -> Awaitable[object]:
            return bare.complete(request, model="first")

        def ask_router(request: ChatRequest) -> Awaitable[object]:
            return router.complete(request, role="worker")

        without = await many_calls(_through_outage(models, calls, ask_first), calls, width=_WIDTH)
        routed = await many_calls(_through_outage(models, calls, ask_router), calls, width=_WIDTH)
    return 100 * (1 - routed.failed / without.failed)


def _through_outage(models: SimulatedModels, calls: int, ask: _Ask) -> Callable[[], Awaitable[object]]:
    """A call that takes the first model down after a quarter of the calls, and up again after three quarters."""
    made = 0

    async def call() -> object:
        nonlocal made
        made += 1
        if made == calls // 4:
            models.set_faults("first", Faults(error_rate=1.0, error_status=503))
        if made == 3 * calls // 4:
            models.clear_faults()
        return await ask(ChatRequest(messages=(Message(role="user", content=f"question {made}"),), temperature=1.0))

    return call
