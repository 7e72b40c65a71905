"""Five voters at once with an early stop, against all at once and one after another.

Each arm has a simulator of its own with the same seed: the same request, asked as often, is given the same latency
there, so a round compares three ways through the same five waits.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from omninode.bench.measure import Spread, interleave
from omninode.bench.scenario import Figure, Findings, Scenario, at_most
from omninode.bench.surroundings import Surroundings
from omninode.providers.http import HttpClient
from omninode.quorum.ballot import Ballot, planned_tasks, read_verdict
from omninode.quorum.tally import is_settled
from omninode.quorum.validator import QuorumValidator
from omninode.quorum.vote import Vote
from omninode.quorum.voter import RouterVoter, voters_of
from omninode.routing.deployment import DeploymentConfig
from omninode.routing.router import Router
from omninode.simulation.server import SimulatedModels

__all__ = ["SCENARIO"]

_SCALE = 0.4
_PROMPT = "Explain how retries work, and write tests for the circuit breaker"
_TASKS = [
    {"id": "t1", "agent": "researcher", "description": "Explain how retries work"},
    {"id": "t2", "agent": "tester", "description": "Write tests for the circuit breaker"},
]
_MINIMUM = 3


async def panel(stack: AsyncExitStack) -> tuple[SimulatedModels, Router]:
    """A simulator and a router to its five voters, open until the stack is left."""
    models = await stack.enter_async_context(SimulatedModels(seed=7, latency_scale=_SCALE))
    http = await stack.enter_async_context(HttpClient())
    deployments = [DeploymentConfig(**{**entry, "roles": frozenset(entry["roles"])}) for entry in models.deployments()]
    return models, await stack.enter_async_context(Router(deployments, http=http))


@dataclass
class _Arms:
    """The three ways; `needed_s` is when the vote came that settled the question, round by round."""

    ours: Router
    plain: Router
    sequential: Router
    needed_s: list[float] = field(default_factory=list)
    saved: int = 0

    async def stop_early(self) -> None:
        result = await QuorumValidator(self.ours).validate_intent(_PROMPT, _TASKS)
        self.saved += result.saved
        if result.lost:
            raise RuntimeError(f"a voter was lost, so there is nothing to compare: {result.note}")

    async def gather(self) -> None:
        voters = voters_of(self.plain)
        before = time.monotonic()
        arrivals: list[tuple[float, Vote]] = []

        async def vote(voter: RouterVoter) -> None:
            cast = await _vote(voter)
            arrivals.append((time.monotonic() - before, cast))

        await asyncio.gather(*(vote(voter) for voter in voters))
        self.needed_s.append(_settled_at(arrivals))

    async def one_by_one(self) -> None:
        for voter in voters_of(self.sequential):
            await _vote(voter)


def _settled_at(arrivals: list[tuple[float, Vote]]) -> float:
    votes = [vote for _, vote in arrivals]
    for number, (at, _) in enumerate(arrivals, 1):
        if is_settled(votes[:number], [vote.weight for vote in votes[number:]], minimum=_MINIMUM):
            return at
    raise RuntimeError("five votes settled nothing")


async def _vote(voter: RouterVoter) -> Vote:
    ballot = Ballot(prompt=_PROMPT, tasks=planned_tasks(_TASKS))
    verdict = read_verdict(await voter.vote(ballot))
    return Vote(
        voter=voter.name, model=voter.model, weight=voter.weight, status="counted", decision=verdict.decision, score=1.0
    )


async def _run(room: Surroundings) -> Findings:
    async with AsyncExitStack() as stack:
        (_, ours), (_, plain), (_, sequential) = [await panel(stack) for _ in range(3)]
        arms = _Arms(ours, plain, sequential)
        rounds = await interleave(
            {"ours": arms.stop_early, "gather": arms.gather, "one by one": arms.one_by_one},
            rounds=room.scaled(14),
            budget_s=room.budget_s(20),
        )
    needed = arms.needed_s[-rounds.count :]
    to_limit = [wall / limit for wall, limit in zip(rounds.times["ours"], needed, strict=True)]
    return Findings(
        figures=(
            Figure(name="ours / slowest needed vote", spread=Spread.of(to_limit), target=at_most(1.15)),
            Figure(name="plain gather / ours", spread=rounds.ratio("gather", "ours")),
            Figure(name="one by one / ours", spread=rounds.ratio("one by one", "ours")),
        ),
        notes=(
            f"5 voters of different speed and weight; {arms.saved} of {5 * (rounds.count + 1)} votes were not waited for",
        ),
    )


SCENARIO = Scenario(
    name="quorum",
    claim="parallel model calls are 2-4x faster",
    compared="QuorumValidator with early stop against asyncio.gather of all votes and one call after another",
    limit="the slowest vote needed for the decision",
    run=_run,
    simulated="models and their latency",
)
