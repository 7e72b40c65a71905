"""The claims of the `resilience` scenario once more, on real time: real HTTP, real timers, a real server that fails.

The troubles are the same kinds, shorter, with a fifth of the patience; all of one seed run side by side, so that a seed
takes half a minute. It shows that the simulator does not flatter: few seeds, and so no narrow intervals.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from omninode.bench.loopback import Loopback, Reply
from omninode.bench.measure import Spread
from omninode.bench.scenario import Figure, Findings, Scenario, at_least, at_most
from omninode.bench.storm.arms import NONE, RECOMMENDED, SHIPPED, Place, opened
from omninode.bench.storm.backend import Backend
from omninode.bench.storm.claims import Tallies, bad_cut, failed_cut, points_added, table
from omninode.bench.storm.spans import Span, always, during
from omninode.bench.storm.trial import Tally, backends, run_through, tallied
from omninode.bench.storm.troubles import Patience, Trouble
from omninode.bench.surroundings import Surroundings
from omninode.core.clock import Clock, SystemClock
from omninode.core.concurrency import gather_settled
from omninode.providers.http import HttpClient, HttpLimits

__all__ = ["SCENARIO", "TROUBLES"]

FIRST_SEED = 90_210
_SEEDS = 3
_ARMS = (NONE, RECOMMENDED, SHIPPED)
_PATIENCE = Patience(attempt_s=1.0, deadline_s=3.0)
_RATE_PER_S = 15.0
_LENGTH_S = 30.0
# Longer than any patience, and not so long that a server that closes has to wait for it.
_HANG_S = 10.0
# Every call of a hanging second may hold a connection.
_CONNECTIONS = 2_000


def _trouble(name: str, span: Span, *, lasts_s: float, has_alternate: bool = False) -> Trouble:
    course = during(5.0, 5.0 + lasts_s, span)
    return Trouble(
        name=name,
        courses=(course, always()) if has_alternate else (course,),
        length_s=_LENGTH_S,
        window_s=(5.0, 5.0 + lasts_s),
        rate_per_s=_RATE_PER_S,
        patience=_PATIENCE,
    )


_DOWN, _HANGS = Span(error_rate=1.0), Span(hangs=True)
TROUBLES = (
    _trouble("outage", _DOWN, lasts_s=20.0),
    _trouble("hang", _HANGS, lasts_s=20.0),
    _trouble("blip 2 s", _DOWN, lasts_s=2.0),
    _trouble("brownout 30%", Span(error_rate=0.3), lasts_s=20.0),
    _trouble("outage, 2 backends", _DOWN, lasts_s=20.0, has_alternate=True),
    _trouble("hang, 2 backends", _HANGS, lasts_s=20.0, has_alternate=True),
)


@dataclass(slots=True)
class _Site:
    """The backends of all trials of one seed, behind one server: a path each."""

    clock: Clock
    places: dict[str, Backend]
    zero: float = 0.0

    def decide(self, path: str) -> Reply:
        backend = self.places[path]
        fate = backend.attempt(self.clock.monotonic() - self.zero)
        backend.good += not fate.fails
        return Reply(status=500 if fate.fails else 200, delay_s=min(fate.takes_s, _HANG_S))


async def _seed(seed: int, troubles: Sequence[Trouble] = TROUBLES) -> list[Tally]:
    clock = SystemClock()
    site = _Site(clock=clock, places={})
    limits = HttpLimits(max_connections=_CONNECTIONS, max_connections_per_host=_CONNECTIONS)
    async with Loopback(site.decide) as server, HttpClient(limits=limits) as http:
        trials: list[Callable[[], Awaitable[Tally]]] = []
        for number, trouble in enumerate(troubles):
            for arm in _ARMS:
                places = backends(trouble, seed=seed)
                paths = [f"/{number}/{_ARMS.index(arm)}/{place}" for place in range(len(places))]
                site.places.update(zip(paths, places, strict=True))
                attempts = [partial(http.post_json, server.url(path), {}) for path in paths]
                call = opened(arm, Place(trouble=trouble, attempts=attempts, clock=clock, http=http, seed=seed))
                trials.append(partial(_trial, trouble, arm, seed, (call, places, clock)))
        site.zero = clock.monotonic()
        return [entry.unwrap() for entry in await gather_settled(trials)]


async def _trial(
    trouble: Trouble,
    arm: str,
    seed: int,
    parts: tuple[Callable[[], Awaitable[object]], list[Backend], Clock],
) -> Tally:
    call, places, clock = parts
    ended = await run_through(trouble, call, clock=clock, seed=seed)
    return tallied(trouble, ended, places, arm=arm, seed=seed)


def _figures(tallies: Tallies) -> list[Figure]:
    def cut(name: str, worth: Callable[[Tally, Tally], float]) -> Spread:
        return Spread.of(tallies.paired(name, worth))

    found = [
        Figure(name=f"A1 wasted attempts cut, {name}", spread=cut(name, bad_cut), unit="%", target=at_least(95))
        for name in ("outage", "hang")
    ]
    found += [
        Figure(
            name=f"A2 failures added, {trouble.name}",
            spread=cut(trouble.name, points_added),
            unit="pts",
            target=at_most(2),
            takes_worst=True,
        )
        for trouble in TROUBLES
    ]
    found += [
        Figure(name=f"A3 user failures cut, {name}", spread=cut(name, failed_cut), unit="%", target=at_least(99))
        for name in ("outage, 2 backends", "hang, 2 backends")
    ]
    for name, bound in (("brownout 30%", 99.0), ("blip 2 s", 99.5)):
        success = Spread.of([100.0 - tally.failed_share for tally in tallies.ours(name)])
        found.append(Figure(name=f"B success, {name}", spread=success, unit="%", target=at_least(bound)))
    return found


async def _run(room: Surroundings) -> Findings:
    tallies = Tallies([tally for number in range(room.scaled(_SEEDS)) for tally in await _seed(FIRST_SEED + number)])
    return Findings(
        figures=_figures(tallies),
        table=table(tallies, TROUBLES),
        notes=(
            (
                f"{_RATE_PER_S:g} calls/s for {_LENGTH_S:g} s, faults from second 5 on; 1 s per attempt, 3 s per call; "
                "shares are of all calls; attempts are counted at the server"
            ),
            "figures are of what is shipped, RouterSettings(); the table shows the recommended parts beside it",
        ),
    )


SCENARIO = Scenario(
    name="resilience-real",
    claim="the simulator does not flatter: the same claims with real HTTP, timers and waits",
    compared="the shipped policy and router against no policy, side by side on one fault server",
    limit="one backend: faults shorter than the deadline; a breaker needs about 7 failures to trip, and its probes fail",
    run=_run,
    simulated="the faults",
    on_request=True,
)
