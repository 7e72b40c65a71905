"""Virtual time: waits that cost nothing, in the order in which they would have ended."""

from __future__ import annotations

import asyncio
import time

import pytest

from omninode.core.errors import InvalidArgumentError
from omninode.testing.virtual_time import StalledError, VirtualClock, run_virtual

pytestmark = pytest.mark.unit


def test_an_hour_of_waits_ends_in_order_and_at_the_right_moments() -> None:
    async def main(clock: VirtualClock) -> list[tuple[str, float]]:
        began = clock.monotonic()
        woke: list[tuple[str, float]] = []

        async def sleeper(name: str, seconds: float) -> None:
            await clock.sleep(seconds)
            woke.append((name, clock.monotonic() - began))

        async with asyncio.TaskGroup() as group:
            for name, seconds in (("late", 3600.0), ("soon", 0.5), ("middle", 60.0), ("now", -1.0)):
                group.create_task(sleeper(name, seconds))
        return woke

    before = time.process_time()
    woke = run_virtual(main)
    assert [name for name, _ in woke] == ["now", "soon", "middle", "late"]
    assert [at for _, at in woke] == pytest.approx([0.0, 0.5, 60.0, 3600.0])
    assert time.process_time() - before < 3600


def test_timeouts_and_the_date_live_on_the_same_time() -> None:
    async def main(clock: VirtualClock) -> float:
        began = clock.now()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(120):
                await asyncio.Event().wait()
        return (clock.now() - began).total_seconds()

    assert run_virtual(main) == pytest.approx(120)


def test_work_of_threads_and_sockets_is_waited_for() -> None:
    async def main(_: VirtualClock) -> tuple[int, bytes]:
        async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"hello")
            writer.close()

        from_thread = await asyncio.to_thread(sum, [1, 2])
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            got = await reader.read()
            writer.close()
            return from_thread, got

    assert run_virtual(main) == (3, b"hello")


def test_a_wait_that_nothing_can_end_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omninode.simulation.virtual_time._STALLED_S", 0.01)

    async def main(_: VirtualClock) -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(StalledError, match="something awaits what nobody will finish"):
        run_virtual(main)


async def test_a_virtual_clock_on_a_real_loop_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="is none"):
        VirtualClock(asyncio.get_running_loop())


async def test_a_loop_inside_a_loop_is_refused() -> None:
    async def main(_: VirtualClock) -> None:
        raise AssertionError

    with pytest.raises(InvalidArgumentError, match="inside a running loop"):
        run_virtual(main)
