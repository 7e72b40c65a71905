"""Who votes: anything with a name that answers a ballot with text; usually a deployment behind the router."""

from __future__ import annotations

from typing import Protocol

from omninode.core.errors import ProviderUnavailableError
from omninode.providers.messages import ChatRequest, Message
from omninode.quorum.ballot import Ballot
from omninode.routing.router import Router

__all__ = ["RouterVoter", "Voter", "voters_of"]


class Voter(Protocol):
    """Answers ballots. `weight` is how much its vote counts, more than zero."""

    @property
    def name(self) -> str:
        """What the vote is recorded under; different for each voter of a quorum."""
        ...

    @property
    def model(self) -> str:
        """The model that votes."""
        ...

    @property
    def weight(self) -> float:
        """How much the vote counts."""
        ...

    async def vote(self, ballot: Ballot) -> str:
        """The model's raw answer; raises when none came."""
        ...


class RouterVoter:
    """A deployment as a voter; the router gives it deadline, retries, breaker and cache."""

    def __init__(self, router: Router, deployment: str, *, model: str = "", weight: float = 1.0) -> None:
        self._router = router
        self.name = deployment
        self.model = model or deployment
        self.weight = weight

    async def vote(self, ballot: Ballot) -> str:
        """See `Voter.vote`; raises ProviderUnavailableError when another deployment answered in its place."""
        messages = (Message(role="system", content=ballot.system), Message(role="user", content=ballot.user))
        request = ChatRequest(messages=messages, temperature=0.0, json=True)
        done = await self._router.complete(request, role="voter", deployment=self.name)
        if done.deployment != self.name:
            raise ProviderUnavailableError(
                f"{done.deployment!r} answered in place of voter {self.name!r}; a stand-in has no second vote"
            )
        return done.text


def voters_of(router: Router) -> tuple[RouterVoter, ...]:
    """The voters among the router's deployments; those of weight 0 stand by and vote only when there is no other."""
    entries = router.deployments("voter")
    active = [entry for entry in entries if entry.weight > 0]
    return tuple(
        RouterVoter(router, entry.name, model=entry.model, weight=entry.weight or 1.0) for entry in active or entries
    )
