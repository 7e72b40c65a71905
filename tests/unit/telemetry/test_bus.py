"""The bus: order, what goes when it is full, and consumers that misbehave."""

import asyncio
import threading

import pytest

from omninode.core.events import (
    CallFinished,
    ErrorOccurred,
    Event,
    MetricRecorded,
    PhaseFinished,
    RunStarted,
)
from omninode.telemetry.bus import EventBus

pytestmark = pytest.mark.unit


def metric(value: float = 1.0) -> MetricRecorded:
    return MetricRecorded(metric="queue", value=value)


def phase(duration_ms: float = 1.0) -> PhaseFinished:
    return PhaseFinished(phase="reporting", duration_ms=duration_ms)


def error(message: str = "broken") -> ErrorOccurred:
    return ErrorOccurred(error_class="ValueError", message=message)


async def test_consumers_get_every_event_in_the_order_of_emission_whatever_its_class():
    seen: list[Event] = []
    events = [metric(), error(), phase(), metric(), RunStarted(prompt="p"), phase()]
    async with EventBus() as bus:
        bus.subscribe(seen.append)
        for event in events:
            bus.emit(event)
        assert await bus.drain()
    assert seen == events


async def test_events_emitted_before_the_start_wait_for_it():
    bus = EventBus()
    seen: list[Event] = []
    bus.subscribe(seen.append)
    bus.emit(error("early"))
    assert bus.statistics().waiting == 1
    async with bus:
        await bus.drain()
    assert [event.message for event in seen] == ["early"]


async def test_a_full_buffer_gives_up_measurements_first_then_facts_and_never_errors():
    seen: list[Event] = []
    bus = EventBus(capacity=4)
    bus.subscribe(seen.append)
    for event in (metric(1), phase(1), metric(2), phase(2)):
        bus.emit(event)
    for number in range(4):
        bus.emit(error(str(number)))
    assert bus.statistics().dropped == {"MetricRecorded": 2, "PhaseFinished": 2}
    async with bus:
        await bus.drain()
    assert [event.message for event in seen] == ["0", "1", "2", "3"]


async def test_a_buffer_full_of_errors_keeps_the_first_ones_and_counts_the_rest():
    bus = EventBus(capacity=2)
    seen: list[Event] = []
    bus.subscribe(seen.append)
    for number in range(5):
        bus.emit(error(str(number)))
    bus.emit(phase())
    bus.emit(metric())
    assert bus.statistics().dropped == {"ErrorOccurred": 3, "PhaseFinished": 1, "MetricRecorded": 1}
    async with bus:
        await bus.drain()
    assert [event.message for event in seen] == ["0", "1"]


async def test_a_measurement_never_displaces_a_fact():
    bus = EventBus(capacity=1)
    bus.emit(phase())
    bus.emit(metric())
    assert bus.statistics().dropped == {"MetricRecorded": 1}


async def test_emitted_is_delivered_plus_dropped_plus_waiting():
    bus = EventBus(capacity=16)
    for number in range(100):
        bus.emit(metric() if number % 3 else error())
    async with bus:
        await bus.drain()
        for _ in range(10):
            bus.emit(phase())
    after = bus.statistics()
    assert after.emitted == 110
    assert after.delivered + after.dropped_total + after.waiting == 110


async def test_a_failing_consumer_is_counted_and_starves_nobody():
    seen: list[Event] = []

    def broken(event: Event) -> None:
        raise RuntimeError("no")

    async with EventBus() as bus:
        bus.subscribe(broken, name="broken")
        bus.subscribe(seen.append, name="fine")
        bus.emit(phase())
        bus.emit(phase())
        await bus.drain()
        broken_one, fine = bus.statistics().consumers
    assert len(seen) == fine.delivered == 2
    assert (broken_one.failed, broken_one.delivered) == (2, 0)
    assert broken_one.last_error == "RuntimeError: no"


async def test_a_hanging_consumer_loses_its_turn():
    seen: list[Event] = []

    async def hangs(event: Event) -> None:
        await asyncio.Event().wait()

    async with EventBus() as bus:
        hanging = bus.subscribe(hangs, timeout_s=0.01)
        bus.subscribe(seen.append)
        bus.emit(phase())
        assert await bus.drain()
    assert hanging.statistics().failed == 1
    assert len(seen) == 1


async def test_drain_waits_for_an_async_consumer_that_still_works():
    done: list[Event] = []

    async def slow(event: Event) -> None:
        await asyncio.sleep(0.01)
        done.append(event)

    async with EventBus() as bus:
        bus.subscribe(slow)
        bus.emit(phase())
        await asyncio.sleep(0)
        assert await bus.drain()
        assert len(done) == 1


async def test_a_subscription_without_consumer_is_a_bounded_queue_that_drops_its_oldest():
    async with EventBus() as bus:
        queue = bus.subscribe(capacity=2, kinds=[PhaseFinished])
        for number in range(4):
            bus.emit(phase(number))
            bus.emit(metric())
        await bus.drain()
        queue.cancel()
        assert [event.duration_ms async for event in queue] == [2, 3]
    assert queue.statistics().dropped == 2


async def test_events_of_other_threads_arrive():
    seen: list[Event] = []
    async with EventBus() as bus:
        bus.subscribe(seen.append)
        threads = [threading.Thread(target=lambda: [bus.emit(phase()) for _ in range(200)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        await asyncio.to_thread(lambda: [thread.join() for thread in threads])
        await bus.drain()
    assert len(seen) == 800


async def test_what_comes_after_the_close_is_counted_as_dropped():
    bus = EventBus()
    async with bus:
        pass
    bus.emit(CallFinished(role="r", model="m", provider="p", deployment="d", ok=True, duration_ms=1))
    assert bus.statistics().dropped == {"CallFinished": 1}
    await bus.close()


async def test_recent_holds_the_last_events_for_late_comers():
    async with EventBus(history=3) as bus:
        for number in range(5):
            bus.emit(phase(number))
        await bus.drain()
        assert [event.duration_ms for event in bus.recent(2)] == [3, 4]
        assert len(bus.recent(100)) == 3
