"""What a policy costs when all is well: per call, beside the best-known libraries, and with ten thousand at once."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Mapping
from functools import partial

from omninode.bench.intervals import median_interval
from omninode.bench.measure import Arm, Rounds, Spread, interleave
from omninode.bench.peers import Call, Peers, load_peers
from omninode.bench.ready import ready_deployment
from omninode.bench.scenario import Figure, Findings, Scenario, Table, Target, at_least, at_most
from omninode.bench.stampede import leaked_permits, moved_states, stampede_hits
from omninode.bench.surroundings import Surroundings
from omninode.resilience.breaker import CircuitBreaker
from omninode.resilience.policy import Policy
from omninode.resilience.retry import RetryManager
from omninode.routing.deployment import RouterSettings

__all__ = ["SCENARIO"]

_CALLS = 1_000
_AT_ONCE, _EACH_S = 10_000, 0.05
_DEADLINE_S = 30.0
_BARE, _BREAKER, _FULL = "bare await", "breaker", "breaker + retry + deadline"
_DEPLOYMENT = "model call through a deployment"
_GATES: Mapping[str, Target] = {_BREAKER: at_most(5), _FULL: at_most(16)}
_CHEAPER: Mapping[str, Target] = {
    "stamina + aiobreaker + timeout": at_least(15),
    "tenacity + purgatory + wait_for": at_least(20),
}


async def _nothing() -> int:
    return 1


async def _wait() -> None:
    await asyncio.sleep(_EACH_S)


def _ours() -> dict[str, Call]:
    settings = RouterSettings()
    breaker, retries = CircuitBreaker("bench", settings.breaker), RetryManager(settings.retry)
    both = Policy("bench", retry=settings.retry, breaker=settings.breaker)
    full = _full()
    return {
        _BREAKER: partial(breaker.call, _nothing),
        "retry": partial(retries.execute, _nothing),
        "breaker + retry": partial(both.call, _nothing),
        _FULL: partial(full.call, _nothing),
        _DEPLOYMENT: ready_deployment(),
    }


def _full() -> Policy:
    settings = RouterSettings()
    return Policy("bench", deadline_s=_DEADLINE_S, retry=settings.retry, breaker=settings.breaker)


def _repeated(call: Call) -> Arm:
    """An arm of many calls, one after another, that times itself per call.

    By the processor time of this thread: none of the calls waits for anything, so what is left out is what other
    processes took meanwhile, which on a busy machine is many times what is measured.
    """

    async def run() -> float:
        before = time.thread_time()
        for _ in range(_CALLS):
            await call()
        return (time.thread_time() - before) / _CALLS

    return run


def _at_once(call: Call, count: int) -> Arm:
    async def run() -> float:
        # What the arm before left behind is not for this one to clear away; what this one makes is, while it is timed.
        gc.collect()
        before = time.perf_counter()
        await asyncio.gather(*(call() for _ in range(count)))
        return time.perf_counter() - before

    return run


async def _run(room: Surroundings) -> Findings:
    peers = await load_peers(_nothing)
    calls = {_BARE: _nothing, **_ours(), **peers.calls, **peers.stacks}
    rounds = await interleave(
        {name: _repeated(call) for name, call in calls.items()},
        rounds=room.scaled(25),
        budget_s=room.budget_s(30),
    )
    together = await _together(room)
    return Findings(
        figures=(*_cost(rounds, peers), together, *await asyncio.to_thread(_counts)),
        table=_table(rounds, list(calls)),
        notes=_notes(peers),
    )


async def _together(room: Surroundings) -> Figure:
    policy = _full()
    count = room.scaled(_AT_ONCE, least=100)
    arms: dict[str, Arm] = {"bare": _at_once(_wait, count), "policy": _at_once(partial(policy.call, _wait), count)}
    rounds = await interleave(arms, rounds=room.scaled(21), budget_s=room.budget_s(30))
    return _figure("10,000 concurrent 50 ms calls: throughput / bare", rounds.ratio("bare", "policy"), at_least(0.85))


def _cost(rounds: Rounds, peers: Peers) -> list[Figure]:
    found = [_figure(f"{name} / bare", rounds.ratio(name, _BARE), target) for name, target in _GATES.items()]
    found += [
        _figure(f"{name} / ours", rounds.ratio(name, _FULL), target)
        for name, target in _CHEAPER.items()
        if name in peers.stacks
    ]
    return found


def _counts() -> list[Figure]:
    settings = RouterSettings()
    counts = (
        ("half-open stampede of 100: calls that reach a dead target", stampede_hits(settings.breaker), at_most(1)),
        ("100 cancelled callers: permits leaked", leaked_permits(settings.breaker, settings.retry), at_most(0)),
        ("100 cancelled callers: breakers moved", moved_states(settings.breaker), at_most(0)),
    )
    return [Figure(name=name, spread=Spread.of([count]), unit="", target=target) for name, count, target in counts]


def _figure(name: str, spread: Spread, target: Target | None) -> Figure:
    return Figure(name=name, spread=spread, target=target)


def _table(rounds: Rounds, names: list[str]) -> Table:
    """Nanoseconds per call and the ratio to a bare await of the same round, cheapest first."""
    rows = []
    for name in sorted(names, key=lambda name: rounds.spread(name).median):
        took, ratio = rounds.spread(name, scale=1e9), rounds.ratio(name, _BARE)
        low, high = median_interval([ns * 1e9 for ns in rounds.times[name]])
        rows.append((name, f"{took.median:,.0f}", f"{low:,.0f} .. {high:,.0f}", f"{ratio.median:,.1f}x"))
    return Table(headings=("a successful call that does nothing", "ns", "95%", "bare"), rows=rows)


def _notes(peers: Peers) -> tuple[str, ...]:
    notes = [
        "shipped settings, no event sink; each arm makes 1,000 calls a round, the arms take turns",
        "one call is timed by the processor time of its thread, ten thousand at once by the clock",
        f"{_DEPLOYMENT}: all the router puts around one, its counts and outcome too; the provider answers at once",
        "pybreaker guards with calling(), since call_async needs Tornado; stacks have 3 retries, 5 failures, 30 s",
    ]
    if peers.versions:
        notes.append("against " + ", ".join(peers.versions))
    if peers.missing:
        notes.append(f"not installed, so left out: {', '.join(peers.missing)}; pip install 'omninode[bench]'")
    return tuple(notes)


SCENARIO = Scenario(
    name="overhead",
    claim="a whole policy at a price nobody notices",
    compared="calls that do nothing: bare, through ours, and through other libraries",
    limit="a bare await",
    run=_run,
    on_request=True,
)
