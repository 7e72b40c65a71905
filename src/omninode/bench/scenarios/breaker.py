"""What a breaker costs while all is well, what it saves while nothing is, and whether it harms in between.

Four experiments, each against real HTTP: the overhead on calls that succeed; calls wasted on a target that is down or
hangs; failures the user sees when another deployment could answer; and failures under a brownout, where a breaker
that is too eager makes things worse.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from omninode.bench.loopback import Loopback, Reply
from omninode.bench.measure import Rounds, Spread, interleave
from omninode.bench.scenario import Figure, Findings, Scenario, at_least, at_most
from omninode.bench.scenarios.load import flaky, many_calls
from omninode.bench.scenarios.outage import failures_cut
from omninode.bench.surroundings import Surroundings
from omninode.core.concurrency import Settled, gather_settled
from omninode.providers.http import HttpClient
from omninode.resilience.breaker import CircuitBreaker
from omninode.resilience.circuit import CircuitBreakerConfig
from omninode.resilience.detector import Sequential
from omninode.resilience.policy import Policy
from omninode.resilience.schedule import RetryConfig

__all__ = ["SCENARIO"]

_WIDTH = 10
_HANG_S, _PATIENCE_S = 60.0, 0.05
_BROWNOUTS = (0.1, 0.2, 0.3)


def _post(http: HttpClient, url: str, *, timeout_s: float = 10.0) -> Callable[[], Awaitable[object]]:
    return lambda: http.post_json(url, {}, timeout_s=timeout_s)


async def _overhead(http: HttpClient, room: Surroundings) -> Rounds:
    """Ten calls of 100 ms at once, bare and through one breaker."""
    async with Loopback(lambda _: Reply(delay_s=0.1)) as server:
        post = _post(http, server.url("/slow"))
        breaker = CircuitBreaker("bench")

        async def bare() -> None:
            _all_ok(await gather_settled([post] * _WIDTH))

        async def guarded() -> None:
            _all_ok(await gather_settled([lambda: breaker.call(post)] * _WIDTH))

        arms = {"bare": bare, "breaker": guarded}
        return await interleave(arms, rounds=room.scaled(12), budget_s=room.budget_s(4), warm_up=1)


def _all_ok(settled: Sequence[Settled[object]]) -> None:
    for entry in settled:
        entry.unwrap()


async def _wasted(http: HttpClient, room: Surroundings, reply: Reply) -> Spread:
    """The share of calls to a target that is down which a breaker keeps back, in percent; counted at the target."""
    cut = []
    for _ in range(room.scaled(3)):
        async with Loopback(lambda _: reply) as server:
            cut.append(await _cut(server, http, calls=room.scaled(400, least=60), hangs=reply.delay_s > 0))
    return Spread.of(cut)


async def _cut(server: Loopback, http: HttpClient, *, calls: int, hangs: bool) -> float:
    timeout_s = _PATIENCE_S if hangs else 10.0
    breaker = CircuitBreaker("bench")
    bare = _post(http, server.url("/bare"), timeout_s=timeout_s)
    guarded = _post(http, server.url("/guarded"), timeout_s=timeout_s)
    await many_calls(bare, calls, width=_WIDTH)
    await many_calls(lambda: breaker.call(guarded), calls, width=_WIDTH)
    return 100 * (1 - server.hits["/guarded"] / server.hits["/bare"])


async def _harm(http: HttpClient, room: Surroundings, config: CircuitBreakerConfig, rate: float) -> Spread:
    """Points of failure that retries and a breaker add to bare calls while `rate` of all answers are failures."""
    calls, points = room.scaled(300, least=40), []
    for seed in range(room.scaled(3)):
        async with Loopback(flaky(rate, seed=seed)) as server:
            policy = Policy("bench", deadline_s=2.0, retry=RetryConfig(), breaker=config)
            bare, guarded = _post(http, server.url("/bare")), _post(http, server.url("/policy"))
            without = await many_calls(bare, calls, width=_WIDTH)
            protected = await many_calls(_through(policy, guarded), calls, width=_WIDTH)
            points.append(protected.failed_share - without.failed_share)
    return Spread.of(points)


def _through(policy: Policy, call: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[object]]:
    return lambda: policy.call(call)


def _harm_figure(name: str, added: Spread) -> Figure:
    return Figure(name=name, spread=added, unit="pts", target=at_most(2), takes_worst=True)


async def _run(room: Surroundings) -> Findings:
    async with HttpClient() as http:
        overhead = await _overhead(http, room)
        down = await _wasted(http, room, Reply(status=503))
        hangs = await _wasted(http, room, Reply(delay_s=_HANG_S))
        alternate = await failures_cut(http, room)
        harm = [await _harm(http, room, CircuitBreakerConfig(), rate) for rate in _BROWNOUTS]
        careful = await _harm(http, room, CircuitBreakerConfig(detector=Sequential()), _BROWNOUTS[-1])
    return Findings(
        figures=(
            Figure(
                name="10 concurrent 100 ms calls: breaker / bare",
                spread=overhead.ratio("breaker", "bare"),
                target=at_most(1.2),
            ),
            Figure(name="wasted calls cut, target down (A1)", spread=down, unit="%", target=at_least(95)),
            Figure(name="wasted calls cut, target hangs (A1)", spread=hangs, unit="%", target=at_least(95)),
            Figure(name="user failures cut, with an alternate (A3)", spread=alternate, unit="%", target=at_least(99)),
            *(
                _harm_figure(f"failures added at {rate:.0%} faults (A2)", added)
                for rate, added in zip(_BROWNOUTS, harm, strict=True)
            ),
            _harm_figure(f"the same at {_BROWNOUTS[-1]:.0%} faults, detector Sequential", careful),
        ),
        notes=(
            "default breaker (5 failures in a row, 30 s) and default retries; wasted calls are counted at the target",
            (
                "A2 compares a policy of retries and breaker with bare calls, in points of percent: below zero means fewer failures; above it, 5 "
                "failures in a row came by chance and the breaker then refused calls that would have succeeded"
            ),
        ),
    )


SCENARIO = Scenario(
    name="breaker",
    claim="80%+ fewer failures through circuit breakers",
    compared="calls through a breaker, a policy or the router against bare calls to the same server",
    limit="the same calls bare (overhead); the calls it takes to notice (wasted)",
    run=_run,
    simulated="the faults",
)
