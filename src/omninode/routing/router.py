"""The one way to a model: a call names a role, the router finds a deployment that answers.

    exact cache > single flight > fallback over the deployments of the role > policy of the deployment > provider

A repeatable call (temperature 0 or a seed) that was answered before, or is being answered now, costs nothing. Any
other is sent to the deployments of its role in the balancer's order until one answers. What is not as it should be,
a deployment that failed or is having a break, is written on the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from types import TracebackType
from typing import Self

from omninode.core.clock import Clock, SystemClock
from omninode.core.deadline import Deadline, within
from omninode.core.errors import ConfigurationError, OmniNodeError
from omninode.core.events import CacheUse, CallFinished, EventSink, NullSink, PayloadRecorded
from omninode.core.usage import Cost, Usage
from omninode.providers.catalog import provider_for
from omninode.providers.http import HttpClient
from omninode.providers.messages import ChatRequest
from omninode.providers.pricing import PriceBook
from omninode.providers.provider import Provider
from omninode.resilience.balancer import Balancer
from omninode.resilience.registry import BreakerRegistry
from omninode.resilience.retry import RetryManager
from omninode.routing.cache.exact import CacheStatistics, ExactCache, exact_key
from omninode.routing.cache.single_flight import FlightStatistics, SingleFlight
from omninode.routing.completion import Completion
from omninode.routing.deployment import Deployment, DeploymentConfig, DeploymentHealth, RouterSettings
from omninode.routing.failover import Failover, Trail
from omninode.routing.teller import Teller
from omninode.telemetry.errors import tell_error

__all__ = ["Probe", "Router", "RouterParts", "RouterStatistics"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterParts:
    """What a router may be given in place of what it makes itself.

    `breakers` keeps a breaker per deployment, under its name and by the registry's own configuration, so that their
    state can be stored and restored. `providers` maps names of deployments to providers, for tests. `seed` makes all
    that is drawn at random repeatable (but for breakers that are given).
    """

    breakers: BreakerRegistry | None = None
    providers: Mapping[str, Provider] | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Whether a deployment can be reached and accepts our key; `has_model` None where it did not say."""

    deployment: str
    ok: bool
    duration_ms: float
    models: tuple[str, ...] = ()
    has_model: bool | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterStatistics:
    """What a router has done since it was made; `degraded` counts answers that were not by the first choice.

    `parked` is how many calls wait now, because no deployment of their role lets them through.
    """

    calls: int
    failed: int
    degraded: int
    shared: int
    parked: int
    cache: CacheStatistics | None
    flights: FlightStatistics
    deployments: tuple[DeploymentHealth, ...]


class Router:
    """Answers calls by role; safe to use concurrently on one event loop.

    Close it, or use it as an async context manager. The HTTP client stays the caller's. Without a `cache` answers are
    not kept, but identical calls at the same time are still one.
    """

    def __init__(  # noqa: PLR0913 - one argument per collaborator; they do not travel together
        self,
        deployments: Sequence[DeploymentConfig],
        *,
        http: HttpClient,
        prices: PriceBook | None = None,
        cache: ExactCache[Completion] | None = None,
        clock: Clock | None = None,
        sink: EventSink | None = None,
        settings: RouterSettings | None = None,
        parts: RouterParts | None = None,
    ) -> None:
        settings, parts = settings or RouterSettings(), parts or RouterParts()
        self._clock = clock or SystemClock()
        self._sink = sink or NullSink()
        self._cache = cache
        self._tells_payloads = settings.tells_payloads
        self._flights: SingleFlight[Completion] = SingleFlight()
        self._balancer = Balancer(clock=self._clock, seed=parts.seed)
        self._failover = Failover(
            balancer=self._balancer,
            prices=prices or PriceBook(),
            clock=self._clock,
            park=settings.park,
            sink=self._sink,
            seed=parts.seed,
        )
        breakers = parts.breakers
        if breakers is None:
            breakers = BreakerRegistry(settings.breaker, clock=self._clock, sink=self._sink, seed=parts.seed)
        self._deployments: dict[str, Deployment] = {}
        for config in deployments:
            if config.name in self._deployments:
                raise ConfigurationError(f"two deployments are called {config.name!r}; rename one")
            self._deployments[config.name] = Deployment(
                config,
                (parts.providers or {}).get(config.name) or _provider(config, http),
                settings=settings,
                breaker=breakers.get(config.name),
                clock=self._clock,
                sink=self._sink,
                seed=parts.seed,
            )
        self._calls = self._failed = self._degraded = self._shared = 0

    def deployments(self, role: str | None = None) -> tuple[DeploymentConfig, ...]:
        """The deployments that may play `role`, all of them for None."""
        return tuple(entry.config for entry in self._deployments.values() if role is None or role in entry.config.roles)

    async def complete(
        self,
        request: ChatRequest,
        *,
        role: str,
        deployment: str | None = None,
        agent_id: str | None = None,
        task_id: str | None = None,
        use_cache: bool = True,
    ) -> Completion:
        """The answer of a deployment that may play `role`.

        Args:
            request: what is asked.
            role: the part the model plays, such as "planner".
            deployment: the name of the only one to ask, with no fallback; a vote is worth nothing if another votes.
            agent_id, task_id: who asks and for what, for the records; those of the scope by default.
            use_cache: False for an answer of its own, neither stored nor shared.

        Raises:
            ConfigurationError: no deployment may play `role`, or none has that name.
            ProviderError: no deployment answered; the message names each, the class is that of the failure most
                worth acting on. BreakerOpenError when all of them are having a break.
            DeadlineExceededError: the deadline of the scope came first.
        """
        candidates = self._candidates(role, deployment)
        started = self._clock.monotonic()
        trail = Trail()
        teller = Teller(role=role, agent_id=agent_id, task_id=task_id, first=candidates[0].config, trail=trail)
        self._calls += 1
        try:
            done = await self._answered(request, candidates, role=role, trail=trail, use_cache=use_cache)
        except BaseException as error:
            self._failed += 1
            told = teller.failure(error, duration_ms=self._since_ms(started))
            self._sink.emit(told)
            self._tell_payload(told, request, None)
            if isinstance(error, Exception):
                context = {"deployment": told.deployment, "model": told.model, "role": role}
                tell_error(self._sink, error, where="routing.router", attempt=trail.attempts, context=context)
            raise
        done = replace(done, duration_ms=self._since_ms(started))
        self._degraded += done.degraded is not None
        self._shared += done.cache == "shared"
        told = teller.success(done)
        self._sink.emit(told)
        self._tell_payload(told, request, done.text)
        return done

    def forget(self, keys: Iterable[str]) -> None:
        """Do not serve again what is kept under `keys` (`Completion.cache_key`): its answers turned out to be bad."""
        for key in keys:
            if self._cache is not None:
                self._cache.discard(key)

    async def probe(self, name: str, *, timeout_s: float = 5.0) -> Probe:
        """Whether the deployment called `name` can be reached, accepts our key and offers its model.

        A failure of the deployment is in what is returned; raises ConfigurationError for an unknown name.
        """
        deployment = self._deployments.get(name)
        if deployment is None:
            raise ConfigurationError(f"no deployment is called {name!r}; there are {_listed(self._deployments)}")
        started = self._clock.monotonic()
        try:
            async with within(Deadline.after(timeout_s), doing=f"{name}: probe"):
                models = await deployment.provider.models()
        except OmniNodeError as error:
            return Probe(deployment=name, ok=False, duration_ms=self._since_ms(started), error=str(error))
        return Probe(
            deployment=name,
            ok=True,
            duration_ms=self._since_ms(started),
            models=models,
            has_model=deployment.config.model in models if models else None,
        )

    def health(self) -> tuple[DeploymentHealth, ...]:
        """How each deployment does now, without asking it."""
        latency = {entry.name: entry.latency_ms for entry in self._balancer.statistics()}
        return tuple(
            entry.health(latency.get(name), parked=self._failover.parked(name))
            for name, entry in self._deployments.items()
        )

    def statistics(self) -> RouterStatistics:
        """What it has done so far."""
        return RouterStatistics(
            calls=self._calls,
            failed=self._failed,
            degraded=self._degraded,
            shared=self._shared,
            parked=self._failover.parked(),
            cache=self._cache.statistics() if self._cache is not None else None,
            flights=self._flights.statistics(),
            deployments=self.health(),
        )

    @property
    def retries(self) -> tuple[RetryManager, ...]:
        """The retry manager of each deployment, whose counters are worth keeping across restarts."""
        return tuple(entry.retry for entry in self._deployments.values())

    async def close(self) -> None:
        """End the shared calls under way and close the providers; closing twice is harmless."""
        await self._flights.close()
        for entry in self._deployments.values():
            await entry.provider.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _candidates(self, role: str, name: str | None) -> list[Deployment]:
        found = [
            entry
            for entry in self._deployments.values()
            if role in entry.config.roles and (name is None or entry.name == name)
        ]
        if not found:
            which = f"no deployment called {name!r}" if name else "no deployment"
            raise ConfigurationError(
                f"{which} may play the role {role!r}; declared: {_listed(self._deployments)}; "
                f"add {role!r} to the roles of one"
            )
        return found

    async def _answered(
        self, request: ChatRequest, candidates: Sequence[Deployment], *, role: str, trail: Trail, use_cache: bool
    ) -> Completion:
        async def serve() -> Completion:
            return await self._failover.serve(request, candidates, role=role, trail=trail)

        if not use_cache or (request.temperature != 0 and request.seed is None):
            return await serve()
        places = [(entry.name, entry.config.base_url, entry.config.model) for entry in candidates]
        key = exact_key(role, places, request)
        stored = self._cache.get(key) if self._cache is not None else None
        if stored is not None:
            return _free(stored, "hit")

        async def serve_and_store() -> Completion:
            done = await serve()
            if self._cache is None:
                return done
            # What a fallback answered is not kept, or it would outlive the trouble by the cache's ttl.
            if done.answer.is_complete and done.degraded is None:
                done = replace(done, cache_key=key)
                self._cache.put(key, done)
                # Whoever asked may be cancelled before the answer is handed over; it is kept all the same.
                trail.cache_key = key
            return replace(done, cache="miss")

        flown = await self._flights.run(key, serve_and_store)
        return _free(flown.value, "shared") if flown.is_shared else flown.value

    def _tell_payload(self, told: CallFinished, request: ChatRequest, response: str | None) -> None:
        if self._tells_payloads:
            self._sink.emit(
                PayloadRecorded(
                    id=told.id,
                    at_ns=told.at_ns,
                    run_id=told.run_id,
                    phase=told.phase,
                    request=asdict(request),
                    response=response,
                )
            )

    def _since_ms(self, started: float) -> float:
        return (self._clock.monotonic() - started) * 1000


def _free(done: Completion, use: CacheUse) -> Completion:
    """The same answer for another caller, who pays nothing for it."""
    return replace(done, cache=use, usage=Usage(), cost=Cost(), attempts=0)


def _listed(names: Mapping[str, Deployment]) -> str:
    return ", ".join(names) or "none"


def _provider(config: DeploymentConfig, http: HttpClient) -> Provider:
    return provider_for(
        config.protocol,
        config.base_url,
        config.api_key,
        http=http,
        name=config.name,
        timeout_s=config.timeout_s,
        sends_deadline=config.sends_deadline,
    )
