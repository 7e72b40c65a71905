"""What the product itself costs: a whole run while the models answer at once."""

from __future__ import annotations

import itertools
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import omninode
from omninode.bench.measure import Spread, interleave
from omninode.bench.scenario import Figure, Findings, Scenario, at_most
from omninode.bench.surroundings import Surroundings
from omninode.core.concurrency import gather_settled
from omninode.providers.http import HttpClient
from omninode.providers.messages import ChatRequest, Message
from omninode.providers.openai.client import OpenAIProvider
from omninode.runtime.runtime import Runtime
from omninode.simulation.profile import ModelProfile
from omninode.simulation.server import SimulatedModels
from omninode.workflow.parts import RunRequest

__all__ = ["SCENARIO"]

_TASKS = 5
_PROMPT = (
    "Explain how retries work, explain how breakers open, explain how batches are written, "
    "explain how votes are counted, and explain how context is ranked (question {number})"
)
_VOTERS = 5
# About what a task is sent: its share of context.
_CONTENT_CHARS = 24_000
_PROFILES = tuple(ModelProfile(name=f"sim-{number}", quality=1.0) for number in range(_VOTERS))


@dataclass
class _Arms:
    node: Runtime
    models: SimulatedModels
    bare: OpenAIProvider
    numbers: itertools.count[int]
    cpu_s: list[float]
    calls: int = 0

    async def run(self) -> None:
        """One run of the main job; checked to have done what is measured."""
        prompt = _PROMPT.format(number=next(self.numbers))
        before, calls = time.process_time(), self._calls()
        report = await self.node.run(RunRequest(prompt=prompt, workspace=Path(omninode.__file__).parent))
        self.cpu_s.append(time.process_time() - before)
        self.calls = self._calls() - calls
        if report.status != "done" or len(report.tasks) != _TASKS:
            raise RuntimeError(f"the run ended {report.status} with {len(report.tasks)} tasks: {report.error}")

    async def bare_calls(self) -> None:
        """As many calls to the same models, without any of ours: a plan, the votes at once, the tasks at once."""
        for width in (1, _VOTERS, _TASKS):
            for entry in await gather_settled([self._ask] * width):
                entry.unwrap()

    async def _ask(self) -> object:
        content = f"{next(self.numbers)} " + "x" * _CONTENT_CHARS
        request = ChatRequest(messages=(Message(role="user", content=content),))
        return await self.bare.complete(request, model=_PROFILES[0].name)

    def _calls(self) -> int:
        return sum(self.models.statistics().calls.values())


async def _run(room: Surroundings) -> Findings:
    async with AsyncExitStack() as stack:
        models = await stack.enter_async_context(SimulatedModels(_PROFILES, latency_scale=0))
        http = await stack.enter_async_context(HttpClient())
        entries = [
            {name: entry[name] for name in ("name", "protocol", "base_url", "model", "roles", "weight")}
            for entry in models.deployments()
        ]
        settings = room.settings(deployments=entries)
        node = await stack.enter_async_context(Runtime(settings, require_database=True))
        arms = _Arms(node, models, OpenAIProvider(models.base_url, None, http=http), itertools.count(1), [])
        rounds = await interleave(
            {"run": arms.run, "bare calls": arms.bare_calls},
            rounds=room.scaled(15),
            budget_s=room.budget_s(12),
            warm_up=3,
        )
    wall = rounds.spread("run", scale=1000)
    cpu = Spread.of([1000 * seconds for seconds in arms.cpu_s[-rounds.count :]])
    return Findings(
        figures=(
            Figure(name=f"a whole run with {_TASKS} tasks, own time", spread=wall, unit="ms", target=at_most(400)),
            Figure(name="the same, CPU of this process", spread=cpu, unit="ms"),
            Figure(name="run / bare model calls", spread=rounds.ratio("run", "bare calls")),
        ),
        notes=(
            (
                f"{arms.calls} model calls a run over real HTTP, to models in this process whose work counts as ours; all "
                "seven phases, this package as the workspace, rows written to the embedded Postgres"
            ),
        ),
    )


SCENARIO = Scenario(
    name="pipeline",
    claim="the product adds little to the time of its models",
    compared="a whole warm run against as many bare model calls",
    limit="zero: the models answer at once",
    run=_run,
    simulated="the models, with no latency",
)
