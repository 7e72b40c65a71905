"""Gathering context from all sources at once against one after another."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import orjson

import omninode
from omninode.bench.loopback import Loopback, Reply
from omninode.bench.measure import Arm, interleave
from omninode.bench.scenario import Figure, Findings, Scenario, at_most
from omninode.bench.surroundings import Surroundings
from omninode.context.gather import ContextGatherer
from omninode.context.source import Source, SourceQuery
from omninode.context.sources.files import WorkspaceFiles
from omninode.context.sources.http import HttpRetrieval
from omninode.context.sources.search import WorkspaceSearch
from omninode.context.sources.structure import WorkspaceStructure
from omninode.context.workspace import Workspace
from omninode.providers.http import HttpClient

__all__ = ["SCENARIO", "round_trips"]

_ROUND_TRIPS_S = (0.06, 0.09, 0.12, 0.15, 0.2)
_QUESTIONS = itertools.count(1)


def round_trips(path: str) -> Reply:
    """What the retrieval server at `/source-N` answers, after its own round trip."""
    number = int(path.rpartition("-")[2])
    results = [{"id": f"{number}-{rank}", "text": f"passage {rank} of source {number}"} for rank in range(5)]
    return Reply(body=orjson.dumps({"results": results}), delay_s=_ROUND_TRIPS_S[number])


async def _run(room: Surroundings) -> Findings:
    async with Loopback(round_trips) as server, HttpClient() as http:
        remote = [
            HttpRetrieval(server.url(f"/source-{number}"), http, name=f"source-{number}")
            for number in range(len(_ROUND_TRIPS_S))
        ]
        far = await interleave(_arms(remote), rounds=room.scaled(12), budget_s=room.budget_s(14))
        asked = sum(server.hits.values())
    place = Workspace(Path(omninode.__file__).parent)
    near = await interleave(
        _arms([WorkspaceFiles(place), WorkspaceSearch(place), WorkspaceStructure(place)]),
        rounds=room.scaled(15),
        budget_s=room.budget_s(5),
        warm_up=2,
    )
    slowest = max(_ROUND_TRIPS_S)
    wall = far.spread("at once", scale=1 / slowest)
    return Findings(
        figures=(
            Figure(name="5 remote sources at once / slowest round trip", spread=wall, target=at_most(1.15)),
            Figure(name="one by one / at once, 5 remote sources", spread=far.ratio("one by one", "at once")),
            Figure(name="one by one / at once, 3 local sources", spread=near.ratio("one by one", "at once")),
        ),
        notes=(
            (
                f"injected round trips {', '.join(f'{1000 * each:.0f}' for each in _ROUND_TRIPS_S)} ms on a real HTTP "
                f"server, which answered {asked} requests"
            ),
            (
                "the local sources (files, search, structure of this package, warm) compute in one process: there is no waiting "
                "to overlap, and at once includes ranking and merging what they found"
            ),
        ),
    )


def _arms(sources: Sequence[Source]) -> dict[str, Arm]:
    gatherer = ContextGatherer(sources)

    async def at_once() -> None:
        found = await gatherer.gather_global_context(_question())
        if not found.is_complete:
            raise RuntimeError(f"a source was lost, so there is nothing to compare: {found!r}")

    async def one_by_one() -> None:
        prompt = _question()
        for source in sources:
            await source.fetch(SourceQuery(prompt=prompt, queries=(prompt,)))

    return {"at once": at_once, "one by one": one_by_one}


def _question() -> str:
    """A prompt nobody has asked yet, so that nothing is answered from a cache."""
    return f"where are retries and circuit breakers configured, and what is tested? ({next(_QUESTIONS)})"


SCENARIO = Scenario(
    name="gathering",
    claim="parallel RAG queries are 3-5x faster",
    compared="ContextGatherer against the same sources one after another",
    limit="the slowest source",
    run=_run,
    simulated="round trips of the remote sources",
)
