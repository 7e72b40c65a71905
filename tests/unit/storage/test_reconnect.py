"""A server that is away is tried by one at a time, with growing pauses."""

from __future__ import annotations

import asyncio
import random

import pytest

from omninode.core.errors import ConfigurationError, DatabaseUnavailableError
from omninode.storage.reconnect import Reconnect
from omninode.testing.virtual_time import VirtualClock, run_virtual

pytestmark = pytest.mark.unit


class Server:
    """Answers a try after 10 ms: with a connection while it is up, and with `refusal` otherwise."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.is_up = False
        self.refusal: Exception = DatabaseUnavailableError("nobody listens")
        self.tries: list[float] = []
        self.at_once = self.most_at_once = 0

    async def connect(self) -> str:
        self.tries.append(self.clock.monotonic())
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.clock.sleep(0.01)
        finally:
            self.at_once -= 1
        if not self.is_up:
            raise self.refusal
        return "connection"


def begun(clock: VirtualClock, *, seed: int = 1) -> tuple[Server, Reconnect]:
    return Server(clock), Reconnect(clock=clock, rng=random.Random(seed))


async def refused(reconnect: Reconnect, server: Server) -> DatabaseUnavailableError:
    with pytest.raises(DatabaseUnavailableError) as caught:
        await reconnect.through(server.connect)
    return caught.value


def test_callers_that_come_all_the_time_do_not_stampede_a_server_that_is_away() -> None:
    async def scene(clock: VirtualClock) -> None:
        server, reconnect = begun(clock)

        async def insist() -> int:
            for _ in range(600):
                await refused(reconnect, server)
                await clock.sleep(0.1)
            return 600

        await refused(reconnect, server)
        first = len(server.tries)
        async with asyncio.TaskGroup() as group:
            for _ in range(40):
                group.create_task(insist())
        # 24,000 calls in a minute. Bounds of the pauses: 0.1, 0.2, … 3.2, then 5 s each, drawn from their upper half.
        assert (first, server.most_at_once) == (1, 1)
        assert 60 / 5 <= len(server.tries) <= 6 + 60 / 2.5 + 1
        assert reconnect.failed == len(server.tries)

    run_virtual(scene)


def test_pauses_grow_are_jittered_and_have_a_longest() -> None:
    async def scene(clock: VirtualClock) -> None:
        server, reconnect = begun(clock)
        other, another = begun(clock, seed=2)
        pauses: dict[Reconnect, list[float]] = {reconnect: [], another: []}
        for way, target in ((reconnect, server), (another, other)):
            for _ in range(12):
                await refused(way, target)
                told = (await refused(way, target)).retry_after_s
                assert told is not None
                pauses[way].append(told)
                await clock.sleep(told)
        for drawn in pauses.values():
            bounds = [min(5.0, 0.1 * 2**number) for number in range(12)]
            assert all(bound / 2 <= pause <= bound for pause, bound in zip(drawn, bounds, strict=True))
        assert pauses[reconnect] != pauses[another]

    run_virtual(scene)


def test_who_comes_while_one_tries_is_let_in_by_its_success() -> None:
    async def scene(clock: VirtualClock) -> None:
        server, reconnect = begun(clock)
        refusal = await refused(reconnect, server)
        assert refusal.retry_after_s is None
        await clock.sleep(1)
        server.is_up = True
        calls = [asyncio.create_task(reconnect.through(server.connect)) for _ in range(10)]
        await clock.sleep(0.005)
        assert len(server.tries) == 2
        assert await asyncio.gather(*calls) == ["connection"] * 10
        assert server.most_at_once == 9  # all the others at once, as nothing is wrong any more

    run_virtual(scene)


def test_who_comes_while_one_tries_is_refused_with_the_next_pause_by_its_failure() -> None:
    async def scene(clock: VirtualClock) -> None:
        server, reconnect = begun(clock)
        await refused(reconnect, server)
        await clock.sleep(1)
        refusals = await asyncio.gather(*[refused(reconnect, server) for _ in range(10)])
        assert len(server.tries) == 2
        told = [refusal.retry_after_s for refusal in refusals if refusal.retry_after_s is not None]
        assert len(told) == 9
        assert all(0.1 <= pause <= 0.2 for pause in told)
        assert "nobody listens" in refusals[-1].message

    run_virtual(scene)


def test_when_the_one_who_tries_is_cancelled_another_tries() -> None:
    async def scene(clock: VirtualClock) -> None:
        server, reconnect = begun(clock)
        await refused(reconnect, server)
        await clock.sleep(1)
        server.is_up = True
        calls = [asyncio.create_task(reconnect.through(server.connect)) for _ in range(3)]
        await clock.sleep(0.005)
        calls[0].cancel()
        assert await asyncio.gather(*calls[1:]) == ["connection"] * 2
        assert calls[0].cancelled()
        assert reconnect.failed == 1

    run_virtual(scene)


def test_a_server_that_refuses_the_login_is_there() -> None:
    async def scene(clock: VirtualClock) -> None:
        server, reconnect = begun(clock)
        server.refusal = ConfigurationError("wrong password")
        for _ in range(3):
            with pytest.raises(ConfigurationError):
                await reconnect.through(server.connect)
        assert (len(server.tries), reconnect.failed) == (3, 0)

    run_virtual(scene)


def test_tries_under_way_together_count_as_one_failure() -> None:
    async def scene(clock: VirtualClock) -> None:
        server, reconnect = begun(clock)
        await asyncio.gather(*[refused(reconnect, server) for _ in range(10)])
        told = (await refused(reconnect, server)).retry_after_s
        assert told is not None
        assert told <= 0.1
        assert reconnect.failed == 10

    run_virtual(scene)
