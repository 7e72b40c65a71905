"""What retries make of faults that pass: success by fault rate, and what it costs in attempts."""

from __future__ import annotations

from dataclasses import dataclass

from omninode.bench.loopback import Loopback
from omninode.bench.measure import Spread
from omninode.bench.scenario import Figure, Findings, Scenario, Target, at_least, at_most
from omninode.bench.scenarios.load import flaky, many_calls
from omninode.bench.surroundings import Surroundings
from omninode.providers.http import HttpClient
from omninode.resilience.retry import RetryManager
from omninode.resilience.schedule import RetryConfig

__all__ = ["SCENARIO"]

_RATES = (0.0, 0.1, 0.2, 0.3)
_WIDTH = 50
# More patience than the default, to show what the default leaves to gain.
_PATIENT = RetryConfig(max_retries=6)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """Of one configuration at one fault rate: success in percent and requests per call, one value per seed."""

    success: Spread
    attempts: Spread


async def _measured(http: HttpClient, room: Surroundings, config: RetryConfig | None, rate: float) -> _Outcome:
    success, attempts = [], []
    for seed in range(room.scaled(3)):
        async with Loopback(flaky(rate, seed=seed)) as server:
            ended, requests = await _calls(http, server, config, count=room.scaled(800, least=50), seed=seed)
        success.append(100 - ended)
        attempts.append(requests)
    return _Outcome(success=Spread.of(success), attempts=Spread.of(attempts))


async def _calls(
    http: HttpClient, server: Loopback, config: RetryConfig | None, *, count: int, seed: int
) -> tuple[float, float]:
    """The failed share in percent and the requests per call that reached the server."""
    manager = RetryManager(config, seed=seed) if config is not None else None
    url = server.url("/flaky")

    async def post() -> object:
        return await http.post_json(url, {})

    async def call() -> object:
        return await post() if manager is None else await manager.execute(post)

    ended = await many_calls(call, count, width=_WIDTH)
    return ended.failed_share, server.hits["/flaky"] / count


async def _run(room: Surroundings) -> Findings:
    figures: list[Figure] = []
    targets: dict[float, Target] = {0.0: at_least(100), 0.1: at_least(99.9), 0.2: at_least(99.9), 0.3: at_least(99)}
    async with HttpClient() as http:
        for rate in _RATES:
            bare = await _measured(http, room, None, rate)
            ours = await _measured(http, room, RetryConfig(), rate)
            figures.append(Figure(name=f"success at {rate:.0%} faults, bare", spread=bare.success, unit="%"))
            figures.append(
                Figure(
                    name=f"success at {rate:.0%} faults, retries", spread=ours.success, unit="%", target=targets[rate]
                )
            )
        patient = await _measured(http, room, _PATIENT, 0.2)
    figures.append(Figure(name="success at 20% faults, 6 retries", spread=patient.success, unit="%"))
    figures.append(
        Figure(name="attempts per call at 30% faults, retries", spread=ours.attempts, unit="", target=at_most(1.5))
    )
    return Findings(
        figures=figures,
        notes=(
            (
                "independent faults (HTTP 503), default RetryConfig (3 retries, full jitter): the arithmetic limit is "
                "1 - p^4, which is 99.84% at 20% and 99.19% at 30%"
            ),
        ),
    )


SCENARIO = Scenario(
    name="retry",
    claim="retries bring success to 90%+",
    compared="RetryManager against bare calls to the same flaky HTTP server",
    limit="1 - p^(attempts) for independent faults of probability p",
    run=_run,
    simulated="the faults",
)
