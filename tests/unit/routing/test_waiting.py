"""Calls that wait in the router: parked while breakers are open, and back on a paid token; on virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from omninode.core import current
from omninode.core.deadline import Deadline
from omninode.core.errors import BreakerOpenError, OmniNodeError, ProviderUnavailableError
from omninode.core.usage import Usage
from omninode.providers.http import HttpClient
from omninode.providers.messages import ChatAnswer, ChatRequest, Message
from omninode.resilience.budget import BudgetConfig
from omninode.resilience.schedule import RetryConfig
from omninode.routing.deployment import DeploymentConfig, RouterSettings
from omninode.routing.router import Router, RouterParts
from omninode.simulation.virtual_time import VirtualClock, run_virtual

pytestmark = pytest.mark.unit

ASK = ChatRequest(messages=(Message(role="user", content="hello"),), temperature=1.0)
ONCE = RetryConfig(max_retries=1, base_delay=0.01, budget=BudgetConfig(start=20.0, ratio=0.0))


class Scripted:
    """A provider whose attempts end as `play` says: an error to raise, None to answer, infinity to hang."""

    def __init__(self, play: Callable[[int], Exception | float | None]) -> None:
        self.attempts = 0
        self._play = play

    async def complete(self, request: ChatRequest, *, model: str) -> ChatAnswer:
        self.attempts += 1
        end = self._play(self.attempts)
        await asyncio.sleep(0.1 if not isinstance(end, float) else end)
        if isinstance(end, Exception):
            raise end
        return ChatAnswer(text="yes", model=model, finish_reason="stop", usage=Usage(), duration_s=0.1)

    async def close(self) -> None:
        """Nothing is open."""


def failing(_: int) -> Exception:
    return ProviderUnavailableError("down", status=500)


def router_for(clock: VirtualClock, *plays: Scripted, has_answered: bool = True, **settings: object) -> Router:
    names = [f"d{number}" for number in range(len(plays))]
    router = Router(
        [
            DeploymentConfig(name=name, protocol="openai", base_url="http://127.0.0.1/", model="m", timeout_s=5.0)
            for name in names
        ],
        http=HttpClient(),
        clock=clock,
        settings=RouterSettings(**settings),
        parts=RouterParts(providers=dict(zip(names, plays, strict=True)), seed=7),
    )
    for deployment in router._deployments.values():
        deployment._calls = int(has_answered)
    return router


async def ended(router: Router, clock: VirtualClock, deadline_s: float | None) -> tuple[str | Exception, float]:
    """The answer or the error of one call, and after how long."""
    began = clock.monotonic()
    deadline = None if deadline_s is None else Deadline.after(deadline_s, clock=clock)
    with current.entered(deadline=deadline):
        try:
            end: str | Exception = (await router.complete(ASK, role="worker")).text
        except OmniNodeError as error:
            end = error
    return end, clock.monotonic() - began


def test_nobody_waits_for_a_deployment_that_has_never_answered() -> None:
    async def main(clock: VirtualClock) -> None:
        router = router_for(clock, Scripted(failing), has_answered=False, retry=ONCE)
        end, took_s = await ended(router, clock, 600.0)
        assert isinstance(end, OmniNodeError)
        assert took_s < 10.0
        router._deployments["d0"].breaker.open()
        end, took_s = await ended(router, clock, 600.0)
        assert isinstance(end, BreakerOpenError)
        assert (took_s, router.statistics().parked) == (0.0, 0)

    run_virtual(main)


def test_a_call_waits_for_a_break_to_end_and_shows_as_parked() -> None:
    async def main(clock: VirtualClock) -> None:
        play = Scripted(lambda _: None)
        router = router_for(clock, play)
        router._deployments["d0"].breaker.open()
        task = asyncio.create_task(ended(router, clock, 15.0))
        await clock.sleep(0.2)
        assert (router.health()[0].parked, router.statistics().parked, play.attempts) == (1, 1, 0)
        end, took_s = await task
        assert (end, router.health()[0].parked, play.attempts) == ("yes", 0, 1)
        assert 0.4 < took_s < 1.3

    run_virtual(main)


@pytest.mark.parametrize("deadline_s", [3.0, 15.0])
def test_a_parked_call_is_refused_before_its_deadline(deadline_s: float) -> None:
    async def main(clock: VirtualClock) -> None:
        play = Scripted(failing)
        router = router_for(clock, play)
        router._deployments["d0"].breaker.open()
        end, took_s = await ended(router, clock, deadline_s)
        assert isinstance(end, BreakerOpenError)
        assert deadline_s / 2 - 1.0 < took_s < deadline_s
        assert router.statistics().parked == 0
        # It probed while it waited, and no more often than breaks ended.
        assert 1 <= play.attempts <= 2 * deadline_s

    run_virtual(main)


def test_nobody_is_parked_when_parking_is_off() -> None:
    async def main(clock: VirtualClock) -> None:
        router = router_for(clock, Scripted(failing), park=None)
        router._deployments["d0"].breaker.open()
        end, took_s = await ended(router, clock, 15.0)
        assert isinstance(end, BreakerOpenError)
        assert took_s == 0.0

    run_virtual(main)


def test_a_call_whose_retries_are_used_up_comes_back_while_its_deadline_lasts() -> None:
    async def main(clock: VirtualClock) -> None:
        play = Scripted(lambda attempt: None if attempt == 6 else failing(attempt))
        end, took_s = await ended(router_for(clock, play, retry=ONCE), clock, 15.0)
        assert (end, play.attempts) == ("yes", 6)
        assert 0.6 < took_s < 14.7

    run_virtual(main)


@pytest.mark.parametrize("deadline_s", [None, 0.3])
def test_without_the_time_it_fails_at_once(deadline_s: float | None) -> None:
    async def main(clock: VirtualClock) -> None:
        play = Scripted(failing)
        end, _ = await ended(router_for(clock, play, retry=ONCE), clock, deadline_s)
        assert isinstance(end, ProviderUnavailableError)
        assert play.attempts == 2

    run_virtual(main)


@pytest.mark.parametrize("budget", [None, BudgetConfig(start=1.0, ratio=0.0)])
def test_nobody_comes_back_on_what_nobody_paid(budget: BudgetConfig | None) -> None:
    async def main(clock: VirtualClock) -> None:
        play = Scripted(failing)
        retry = RetryConfig(max_retries=1, base_delay=0.01, budget=budget)
        end, took_s = await ended(router_for(clock, play, retry=retry), clock, 8.0)
        assert isinstance(end, ProviderUnavailableError)
        assert play.attempts == 2
        assert (took_s < 1.0) == (budget is None)

    run_virtual(main)


def test_a_hang_opens_the_breaker_before_any_attempt_has_timed_out() -> None:
    async def main(clock: VirtualClock) -> None:
        play = Scripted(lambda attempt: None if attempt <= 60 else 3600.0)
        router = router_for(clock, play)
        for _ in range(60):
            assert (await ended(router, clock, 15.0))[0] == "yes"
        tasks = [asyncio.create_task(ended(router, clock, 4.0)) for _ in range(10)]
        await clock.sleep(1.0)
        assert router.health()[0].breaker == "open"
        assert play.attempts == 70
        await asyncio.gather(*tasks)

    run_virtual(main)


def test_a_cancelled_call_leaves_the_waiting_room() -> None:
    async def main(clock: VirtualClock) -> None:
        router = router_for(clock, Scripted(failing), retry=ONCE)
        task = asyncio.create_task(ended(router, clock, 60.0))
        while router.statistics().parked == 0:
            await clock.sleep(0.05)
        task.cancel()
        await asyncio.wait([task])
        assert (task.cancelled(), router.statistics().parked) == (True, 0)

    run_virtual(main)


def test_the_first_of_two_to_reopen_answers() -> None:
    async def main(clock: VirtualClock) -> None:
        down, up = Scripted(failing), Scripted(lambda _: None)
        router = router_for(clock, down, up)
        for name in ("d0", "d1"):
            router._deployments[name].breaker.open()
        router._deployments["d0"].breaker.isolate()
        assert (await ended(router, clock, 15.0))[0] == "yes"
        assert (down.attempts, up.attempts) == (0, 1)

    run_virtual(main)


def test_one_seed_is_one_course_of_events() -> None:
    def course(seed: int) -> list[float]:
        async def main(clock: VirtualClock) -> list[float]:
            chances: Iterator[int] = iter(range(10_000))
            play = Scripted(lambda _: None if next(chances) % 7 > 4 else failing(0))
            router = Router(
                [DeploymentConfig(name="d", protocol="openai", base_url="http://127.0.0.1/", model="m")],
                http=HttpClient(),
                clock=clock,
                parts=RouterParts(providers={"d": play}, seed=seed),
            )
            return [(await ended(router, clock, 15.0))[1] for _ in range(40)]

        return run_virtual(main)

    assert course(1) == course(1)
    assert course(1) != course(2)
