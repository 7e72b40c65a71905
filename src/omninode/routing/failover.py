"""From one deployment of a role to the next, until one answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from omninode.core import current
from omninode.core.clock import Clock
from omninode.core.deadline import Deadline
from omninode.core.errors import RemoteError
from omninode.core.events import EventSink
from omninode.core.usage import Cost, Usage
from omninode.providers.messages import ChatAnswer, ChatRequest
from omninode.providers.pricing import PriceBook
from omninode.resilience.balancer import Balancer, Candidate
from omninode.resilience.parking import Park
from omninode.resilience.policy import CallOutcome
from omninode.resilience.seeds import seed_of
from omninode.routing import failures
from omninode.routing.completion import Completion
from omninode.routing.deployment import Deployment, DeploymentConfig
from omninode.routing.failures import Failure
from omninode.routing.waiting import WaitingRoom

__all__ = ["Failover", "Trail"]


@dataclass(slots=True)
class Trail:
    """What a call has tried so far, for whoever tells how it ended."""

    attempts: int = 0
    last: DeploymentConfig | None = None
    cache_key: str | None = None


class Failover:
    """Finds the deployment that answers; `park` is how a call waits while there is none, None for not at all."""

    def __init__(
        self,
        *,
        balancer: Balancer,
        prices: PriceBook,
        clock: Clock,
        park: Park | None,
        sink: EventSink | None = None,
        seed: int | None = None,
    ) -> None:
        self._balancer = balancer
        self._prices = prices
        self._clock = clock
        self._sink = sink
        self._seed = seed
        self._park = park
        # One per group of deployments that calls choose from: of these there are as many as roles and names.
        self._rooms: dict[tuple[str, ...], WaitingRoom] = {}

    async def serve(
        self, request: ChatRequest, candidates: Sequence[Deployment], *, role: str, trail: Trail
    ) -> Completion:
        """The answer of the first of `candidates`, in the balancer's order, that has one.

        When each is having a break, waits for one to end; when each has failed although another attempt may help,
        tries all again after a while: as long as the deadline of the scope allows and, in the second case, the
        successes of these deployments pay for it. Where none of them has ever answered there is nothing to wait for: an
        address or a key is wrong, and waiting would only hide it. Raises the one error that says most, naming every
        deployment that was tried or left out.
        """
        if self._park is None or not any(entry.has_answered for entry in candidates):
            return await self._round(request, candidates, role=role, trail=trail)
        room = self._room(candidates, self._park)
        while True:
            try:
                return await room.parking.call(self._round, request, candidates, role=role, trail=trail)
            except RemoteError as error:
                if not await room.may_return(error):
                    raise

    def parked(self, name: str | None = None) -> int:
        """How many calls wait now, with `name` for the deployment called so or for another that could answer them."""
        return sum(room.waiting for names, room in self._rooms.items() if name is None or name in names)

    def _room(self, candidates: Sequence[Deployment], park: Park) -> WaitingRoom:
        names = tuple(entry.name for entry in candidates)
        room = self._rooms.get(names)
        if room is None:
            luck = seed_of(self._seed, "/".join(names))
            room = self._rooms[names] = WaitingRoom(candidates, park, clock=self._clock, sink=self._sink, seed=luck)
        return room

    async def _round(
        self, request: ChatRequest, candidates: Sequence[Deployment], *, role: str, trail: Trail
    ) -> Completion:
        ordered, failed = self._ordered(candidates)
        for place, deployment in enumerate(ordered):
            trail.last = deployment.config
            outcome = await self._tried(deployment, request, is_last=place == len(ordered) - 1)
            trail.attempts += outcome.attempts
            if outcome.error is None:
                answer = outcome.unwrap()
                return await self._completed(deployment.config, answer, attempts=trail.attempts, failed=failed)
            failed.append((deployment.name, outcome.error))
            if failures.is_final(outcome.error):
                break
        raise failures.no_answer(role, failed)

    def _ordered(self, candidates: Sequence[Deployment]) -> tuple[list[Deployment], list[Failure]]:
        """Whom to ask, in order, and who is left out because its breaker is open."""
        by_name = {entry.name: entry for entry in candidates}
        preferred = self._balancer.order(
            [Candidate(name=entry.name, weight=entry.config.weight) for entry in candidates]
        )
        ordered: list[Deployment] = []
        left_out: list[Failure] = []
        for entry in (by_name[candidate.name] for candidate in preferred):
            if entry.is_admitting:
                ordered.append(entry)
            elif not entry.config.is_standby or len(candidates) == 1:
                entry.breaker.turn_away()
                left_out.append((entry.name, entry.refusal()))
        # Those with a free place first; the sort is stable, so the balancer's order holds inside both halves.
        ordered.sort(key=lambda entry: (entry.config.is_standby, not entry.admission.has_room))
        return ordered, left_out

    async def _tried(self, deployment: Deployment, request: ChatRequest, *, is_last: bool) -> CallOutcome[ChatAnswer]:
        with self._balancer.under_way(deployment.name) as trip:
            with current.entered(deadline=None if is_last else self._share(deployment.name)):
                outcome = await deployment.answer(request, is_hasty=not is_last)
            trip.has_failed = outcome.error is not None and not failures.is_final(outcome.error)
        return outcome

    def _share(self, name: str) -> Deadline | None:
        """When to stop waiting for one deployment so that the next still has a chance."""
        deadline = current.scope().deadline
        if deadline is None:
            return None
        return Deadline.after(self._balancer.share_s(name, deadline.remaining()), clock=deadline.clock)

    async def _completed(
        self, config: DeploymentConfig, answer: ChatAnswer, *, attempts: int, failed: Sequence[Failure]
    ) -> Completion:
        said = "; ".join(f"{name}: {failures.reason(error)}" for name, error in failed)
        return Completion(
            text=answer.text,
            answer=answer,
            deployment=config.name,
            model=config.model,
            provider=config.provider,
            usage=answer.usage,
            cost=await self._cost(config, answer.usage),
            attempts=attempts,
            cache="off",
            duration_ms=answer.duration_s * 1000,
            degraded=f"answered by {config.name} instead ({said})" if failed else None,
            fell_back_from=tuple(name for name, _ in failed),
            is_simulated=config.is_simulated,
        )

    async def _cost(self, config: DeploymentConfig, usage: Usage) -> Cost:
        if config.price is not None:
            return config.price.cost(usage)
        if config.is_simulated:
            return Cost.unpriced()
        await self._prices.preload(config.provider, config.model)
        return self._prices.cost(config.provider, config.model, usage)
