"""Gathering only what was learned to help, against gathering everything.

Four remote sources of different speed; which one a request needs depends on what kind of request it is. The optimiser
is not told: it sees which items answers drew on. The collection is made up, so this shows that and how far the
learning works, not what a real collection would gain.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

import orjson

from omninode.bench.loopback import Loopback, Reply
from omninode.bench.measure import Spread, interleave
from omninode.bench.scenario import Figure, Findings, Scenario, at_least, at_most
from omninode.bench.surroundings import Surroundings
from omninode.context.gather import ContextGatherer
from omninode.context.item import GatheredContext
from omninode.context.optimizer import ContextOptimizer
from omninode.context.sources.http import HttpRetrieval
from omninode.core.concurrency import map_bounded
from omninode.providers.http import HttpClient

__all__ = ["SCENARIO"]

_ROUND_TRIPS_S = {"code": 0.03, "tickets": 0.06, "manuals": 0.12, "papers": 0.2}
# What is asked, and which source has the answer; six of ten requests are about code, as in a team of programmers.
_KINDS = (
    ("code", "fix the failing function {word} in module_{word}.py, it raises an error"),
    ("code", "write a test for the class {word} and refactor it"),
    ("code", "implement {word} in src/{word}.py"),
    ("tickets", "who reported that {word} is broken, and is it fixed in a release?"),
    ("papers", "compare the literature and evidence on {word}, as a research summary"),
)
_TAUGHT = ("parser", "cache", "router", "ledger", "index", "socket", "planner", "report", "budget", "schema")
_ASKED = ("lexer", "queue", "gateway", "journal", "cursor", "stream", "dispatcher", "summary", "quota", "migration")
_LESSONS = 160


@dataclass
class _Arms:
    everything: ContextGatherer
    learned: ContextGatherer
    optimizer: ContextOptimizer
    random: Random
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    prompt: str = ""
    needed: str = ""
    found: dict[str, list[bool]] = field(default_factory=lambda: {"everything": [], "learned": []})

    def ask(self, words: Sequence[str]) -> tuple[str, str]:
        """The next request, about one of `words`, and the source that can answer it."""
        needed, text = self.random.choice(_KINDS)
        return f"{text.format(word=self.random.choice(words))} ({next(self.numbers)})", needed

    async def lesson(self, _: int) -> None:
        """One request as the product does it: gather, work, tell what the answer drew on."""
        prompt, needed = self.ask(_TAUGHT)
        gathered = await self.learned.gather_global_context(prompt)
        used = [item for item in gathered.values() if item.source == needed]
        await self.optimizer.learn_from_success(
            prompt, used_items=used, decision_id=gathered.decision_id, success=bool(used)
        )

    async def ask_everything(self) -> None:
        await self._gather("everything", self.everything)

    async def ask_learned(self) -> None:
        await self._gather("learned", self.learned)

    async def _gather(self, arm: str, gatherer: ContextGatherer) -> None:
        # Both arms get the same request in a round; the first of them draws it.
        if len(self.found["everything"]) == len(self.found["learned"]):
            self.prompt, self.needed = self.ask(_ASKED)
        gathered = await gatherer.gather_global_context(self.prompt)
        self.found[arm].append(_has(gathered, self.needed))


def _has(gathered: GatheredContext, source: str) -> bool:
    return any(item.source == source for item in gathered.values())


def _answer(path: str) -> Reply:
    name = path.removeprefix("/")
    results = [{"id": f"{name}-{rank}", "text": f"{name}: passage {rank}"} for rank in range(5)]
    return Reply(body=orjson.dumps({"results": results}), delay_s=_ROUND_TRIPS_S[name])


async def _run(room: Surroundings) -> Findings:
    async with Loopback(_answer) as server, HttpClient() as http:
        sources = [HttpRetrieval(server.url(f"/{name}"), http, name=name) for name in _ROUND_TRIPS_S]
        optimizer = ContextOptimizer(seed=11)
        arms = _Arms(ContextGatherer(sources), ContextGatherer(sources, optimizer=optimizer), optimizer, Random(5))  # noqa: S311 - draws requests
        for entry in await map_bounded(arms.lesson, range(room.scaled(_LESSONS, least=10)), limit=8):
            entry.unwrap()
        rounds = await interleave(
            {"everything": arms.ask_everything, "learned": arms.ask_learned},
            rounds=room.scaled(50),
            budget_s=room.budget_s(18),
            warm_up=0,
        )
    everything, learned = rounds.spread("everything"), rounds.spread("learned")
    share = {arm: 100 * sum(found) / len(found) for arm, found in arms.found.items()}
    return Findings(
        figures=(
            Figure(
                name="p50 learned / p50 everything",
                spread=Spread.of([learned.median / everything.median]),
                target=at_most(0.6),
            ),
            Figure(name="learned / everything, request by request", spread=rounds.ratio("learned", "everything")),
            Figure(
                name="requests whose answer was gathered, learned",
                spread=Spread.of([share["learned"]]),
                unit="%",
                target=at_least(99),
            ),
            Figure(
                name="requests whose answer was gathered, everything", spread=Spread.of([share["everything"]]), unit="%"
            ),
        ),
        notes=(
            (
                f"after {room.scaled(_LESSONS, least=10)} lessons, on requests of the same kinds about other words; quality is "
                "the share of requests for which the source that has the answer was asked and gave it"
            ),
            (
                "the collection and its mix (three of five kinds need the fastest source) are made up, and decide how much "
                "there is to gain; not yet: nDCG on a real collection"
            ),
        ),
    )


SCENARIO = Scenario(
    name="context",
    claim="context optimisation makes gathering 20-40% faster",
    compared="ContextGatherer with a ContextOptimizer that has learned against the same gatherer asking everything",
    limit="the one source that has the answer",
    run=_run,
    simulated="round trips, requests and what answers draw on",
)
