"""What the shipped policies do in trouble, simulated: the claims A1, A2, A3 and B against their gates.

The real policy, router, breaker and retry objects run on virtual time; only the backends and the callers are played.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

from omninode.bench.scenario import Findings, Scenario
from omninode.bench.storm.arms import ARMS, NONE, SHIPPED
from omninode.bench.storm.claims import Tallies, figures, table
from omninode.bench.storm.trial import Job, Tally, run_job
from omninode.bench.storm.troubles import ALL_TROUBLES
from omninode.bench.surroundings import Surroundings

__all__ = ["SCENARIO", "jobs"]

# The seeds of the published figures. Whoever tunes a policy does so on others, or the figures mean nothing.
FIRST_SEED = 90_210
_SEEDS = 20
# The ways that are only shown beside ours need no narrow interval; these are the first of the same seeds.
_SHOWN_SEEDS = 3


def jobs(room: Surroundings) -> list[Job]:
    """Every trial, those that take longest in front so that no process is left alone with one at the end."""
    seeds = {arm: room.scaled(_SEEDS if arm in {NONE, SHIPPED} else _SHOWN_SEEDS) for arm in ARMS}
    longest_first = sorted(ALL_TROUBLES, key=lambda trouble: -trouble.length_s * len(trouble.courses))
    return [
        Job(trouble=trouble.name, arm=arm, seed=FIRST_SEED + number)
        for trouble in longest_first
        for arm in ARMS
        for number in range(seeds[arm])
    ]


async def _run(room: Surroundings) -> Findings:
    tallies = Tallies(await _tried(jobs(room)))
    return Findings(
        figures=figures(tallies, ALL_TROUBLES),
        table=table(tallies, ALL_TROUBLES),
        notes=(
            (
                "40 calls/s (overload 70), healthy answers lognormal around 0.1 s, 5 s per attempt, 15 s per call; shares "
                "are of all calls of a trial: faults last 60 s of 75, 8 of 35, 30 of 42 (brownouts), 15 of 48 (overload), 20 of 35 (outage, 2 backends)"
            ),
            (
                "arms: none (times only), retry x3, the document's breaker (5 in a row, 30 s) with its retries, the "
                "recommended parts of a policy (sequential breaker, parking, soft timeout, 5 retries on a budget), and what is "
                "shipped, the router with RouterSettings() for every trouble; those between on the first seeds only"
            ),
            (
                "A2 compares shipped with none on the same arrivals and faults, worst seed; a permanent 60% is shown, not "
                "claimed; one backend without a fallback can only hide faults shorter than the deadline"
            ),
        ),
    )


async def _tried(todo: Sequence[Job]) -> list[Tally]:
    """The tallies of `todo`, on every core: trials share nothing."""
    loop = asyncio.get_running_loop()
    # Spawned: a fork of a process with an event loop and threads is not to be trusted.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=min(len(todo), os.cpu_count() or 1), mp_context=context) as pool:
        return list(await asyncio.gather(*(loop.run_in_executor(pool, run_job, job) for job in todo)))


SCENARIO = Scenario(
    name="resilience",
    claim="no harm in any trouble, and most of it hidden, with one shipped configuration",
    compared="the shipped policy and router against no policy, plain retries and the document's breaker",
    limit="one backend: faults shorter than the deadline; 1 - p^(attempts) for independent faults",
    run=_run,
    simulated="backends, callers and time",
    on_request=True,
)
