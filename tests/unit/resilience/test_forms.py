"""The forms in which a policy protects: plain functions, async generators, blocks, decorated functions."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import replace

import pytest

from omninode.core import current
from omninode.core.deadline import Deadline
from omninode.core.errors import (
    AttemptTimeoutError,
    BreakerOpenError,
    BulkheadFullError,
    DeadlineExceededError,
    InvalidArgumentError,
)
from omninode.core.events import AttemptFinished
from omninode.resilience import (
    BulkheadConfig,
    ChaosConfig,
    CircuitBreakerConfig,
    CircuitState,
    Hedge,
    Park,
    Policy,
    RetryConfig,
)

pytestmark = pytest.mark.unit

RETRY = RetryConfig(max_retries=2, base_delay=0.0)
BREAKER = CircuitBreakerConfig(failure_threshold=3, jitter=0.0)


class Flaky:
    """Fails with each of `errors` in turn, then answers; as a plain function or as a stream."""

    def __init__(self, *errors, items=("a", "b", "c"), breaks_after=None):
        self.errors, self.all = list(errors), items
        self.calls, self.closed, self.breaks_after = 0, 0, breaks_after

    def plain(self, value="ok"):
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return value

    async def stream(self, prefix=""):
        self.calls += 1
        try:
            if self.errors:
                raise self.errors.pop(0)
            for place, item in enumerate(self.all):
                if place == self.breaks_after:
                    raise ConnectionError("cut off")
                await asyncio.sleep(0)
                yield prefix + item
        finally:
            self.closed += 1


async def collected(items):
    return [item async for item in items]


# Plain functions


def test_a_plain_function_is_retried_and_counted(sink):
    policy, flaky = Policy("p", retry=RETRY, breaker=BREAKER, sink=sink), Flaky(ConnectionError(), ConnectionError())
    assert policy.call_blocking(flaky.plain, value="v") == "v"
    statistics = policy.statistics()
    assert (statistics.calls, statistics.succeeded, statistics.retry.attempts, statistics.retry.recovered) == (
        1,
        1,
        3,
        1,
    )
    assert (statistics.breaker.successes, statistics.breaker.failures) == (1, 2)
    assert [event.outcome for event in sink.of(AttemptFinished)] == ["transient", "transient", "success"]


def test_a_plain_function_meets_an_open_breaker():
    policy, flaky = Policy("p", breaker=BREAKER), Flaky()
    policy.breaker.open()
    with pytest.raises(BreakerOpenError):
        policy.call_blocking(flaky.plain)
    assert flaky.calls == 0


def test_a_plain_function_is_not_begun_after_the_deadline(clock):
    policy, flaky = Policy("p", retry=RETRY, deadline_s=60.0, clock=clock), Flaky()
    with current.entered(deadline=Deadline.after(0.0, clock=clock)), pytest.raises(DeadlineExceededError):
        policy.call_blocking(flaky.plain)
    assert flaky.calls == 0


def test_a_fallback_serves_for_a_plain_function_unless_it_is_async():
    async def too_much(error):
        return "never"

    down = Flaky(*[ConnectionError("down")] * 9)
    policy = Policy("p", fallback=lambda error: "stand-in")
    assert policy.call_blocking(down.plain) == "stand-in"
    assert policy.statistics().degraded == 1
    with pytest.raises(ConnectionError) as caught:
        Policy("p", fallback=too_much).call_blocking(down.plain)
    assert "is async and the call is not" in caught.value.__notes__[0]


def test_a_coroutine_function_called_as_a_plain_one_is_named():
    async def answer():
        return 1

    with pytest.raises(InvalidArgumentError, match="returned a coroutine"):
        Policy("p").call_blocking(answer)


def test_many_threads_lose_no_count():
    policy = Policy("p", retry=RETRY, breaker=CircuitBreakerConfig(failure_threshold=10**6))

    def work(number):
        if number % 3 == 0:
            raise ConnectionError("down")
        return number

    def one(number):
        try:
            return policy.call_blocking(work, number)
        except ConnectionError:
            return None

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(600)))
    statistics = policy.statistics()
    assert (statistics.calls, statistics.succeeded, statistics.failed) == (600, 400, 200)
    assert (statistics.breaker.successes, statistics.breaker.failures) == (400, 600)


@pytest.mark.parametrize(
    "parts", [{"bulkhead": BulkheadConfig()}, {"attempt_timeout_s": 1.0}, {"chaos": ChaosConfig()}, {"hedge": Hedge()}]
)
def test_parts_that_need_an_event_loop_refuse_a_plain_function_when_it_is_decorated(parts):
    with pytest.raises(InvalidArgumentError, match="need an event loop"):
        Policy("p", **parts)(lambda: 1)


# Async generators


async def test_a_stream_is_tried_again_before_its_first_item():
    policy, flaky = Policy("p", retry=RETRY, breaker=BREAKER), Flaky(ConnectionError(), ConnectionError())
    assert await collected(policy.stream(flaky.stream, prefix="-")) == ["-a", "-b", "-c"]
    statistics = policy.statistics()
    assert (flaky.calls, flaky.closed, statistics.calls, statistics.succeeded) == (3, 3, 1, 1)
    assert (statistics.breaker.successes, statistics.breaker.failures) == (1, 2)


async def test_a_stream_that_breaks_off_later_is_not_repeated_and_its_breaker_hears_of_it():
    policy, flaky = Policy("p", retry=RETRY, breaker=BREAKER), Flaky(breaks_after=1)
    items = policy.stream(flaky.stream)
    assert await anext(items) == "a"
    with pytest.raises(ConnectionError, match="cut off"):
        await anext(items)
    assert (flaky.calls, flaky.closed) == (1, 1)
    assert (policy.statistics().failed, policy.statistics().breaker.failures) == (1, 1)


async def test_a_stream_without_items_is_a_success():
    policy = Policy("p", retry=RETRY, breaker=BREAKER)
    assert await collected(policy.stream(Flaky(items=()).stream)) == []
    assert policy.statistics().breaker.successes == 1


async def test_a_stream_closed_half_way_gives_every_permit_back():
    policy = Policy("p", breaker=BREAKER, bulkhead=BulkheadConfig(max_concurrent=1, max_queue=0))
    policy.breaker.open()
    policy.breaker._break = replace(policy.breaker._break, until=0.0)
    flaky = Flaky()
    async with aclosing(policy.stream(flaky.stream)) as items:
        assert await anext(items) == "a"
        assert policy.breaker.statistics().probes_under_way == 1
        with pytest.raises(BulkheadFullError):
            await collected(policy.stream(flaky.stream))
    statistics = policy.statistics()
    assert (statistics.breaker.probes_under_way, statistics.bulkhead.running, flaky.closed) == (0, 0, 1)
    assert statistics.breaker.state is CircuitState.HALF_OPEN
    assert (statistics.cancelled, statistics.failed) == (1, 1)


async def test_a_stream_that_stalls_is_cut_and_its_breaker_hears_of_it():
    async def stalls():
        yield 1
        await asyncio.sleep(60)

    policy = Policy("p", breaker=BREAKER, attempt_timeout_s=0.02)
    with pytest.raises(AttemptTimeoutError):
        await collected(policy.stream(stalls))
    assert policy.statistics().breaker.failures == 1


async def test_the_deadline_holds_for_the_whole_stream():
    async def ticks():
        while True:
            await asyncio.sleep(0.005)
            yield 1

    with pytest.raises(DeadlineExceededError):
        await collected(Policy("p", deadline_s=0.03).stream(ticks))
    assert current.scope().deadline is None


async def test_the_scope_of_a_stream_does_not_leak_between_its_items():
    async def deadlines():
        yield current.scope().deadline
        yield current.scope().deadline

    async with aclosing(Policy("p", deadline_s=5.0).stream(deadlines)) as items:
        assert (await anext(items)).remaining() <= 5.0
        assert current.scope().deadline is None
        assert (await anext(items)).remaining() <= 5.0


async def test_a_stream_parks_at_an_open_breaker(quick_clock):
    policy = Policy("p", deadline_s=60.0, breaker=BREAKER, park=Park(), clock=quick_clock)
    policy.breaker.open()
    assert await collected(policy.stream(Flaky().stream)) == ["a", "b", "c"]
    assert len(quick_clock.slept) == 1


@pytest.mark.parametrize("turns", range(8))
async def test_a_stream_cancelled_anywhere_keeps_nothing(turns):
    policy = Policy("p", retry=RETRY, breaker=BREAKER, bulkhead=BulkheadConfig(max_concurrent=1))
    tasks = [asyncio.ensure_future(collected(policy.stream(Flaky(ConnectionError()).stream))) for _ in range(3)]
    for _ in range(turns):
        await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert (policy.bulkhead.statistics().running, policy.bulkhead.statistics().waiting) == (0, 0)


def test_what_a_stream_cannot_have_is_named():
    with pytest.raises(InvalidArgumentError, match="which a stream"):
        Policy("p", hedge=Hedge())(Flaky().stream)


# Blocks


async def test_a_block_is_guarded_by_bulkhead_breaker_and_deadline():
    policy = Policy("p", deadline_s=5.0, breaker=BREAKER, bulkhead=BulkheadConfig(max_concurrent=1))
    async with policy.guard():
        assert policy.bulkhead.statistics().running == 1
        assert current.scope().deadline.remaining() <= 5.0
    for _ in range(3):
        with pytest.raises(ConnectionError):
            async with policy.guard():
                raise ConnectionError("down")
    with pytest.raises(BreakerOpenError):
        async with policy.guard():
            pytest.fail("the body ran")
    assert policy.bulkhead.statistics().running == 0


# Decorated functions


async def test_each_kind_of_function_stays_what_it_is():
    policy = Policy("p", retry=RETRY)

    @policy
    async def ask(question: str) -> str:
        """Ask it."""
        return question

    @policy
    async def tokens(count: int):
        for number in range(count):
            yield number

    @policy
    def plain(value: int = 3) -> int:
        return value

    assert inspect.iscoroutinefunction(ask)
    assert inspect.isasyncgenfunction(tokens)
    assert (await ask("q"), await collected(tokens(2)), plain()) == ("q", [0, 1], 3)
    assert (ask.__name__, ask.__doc__, plain.__name__) == ("ask", "Ask it.", "plain")
    assert policy.statistics().calls == 3


def test_what_cannot_be_decorated_is_named():
    def generator():
        yield 1

    for wrong in (generator, 3, int):
        with pytest.raises(InvalidArgumentError, match="decorates async functions"):
            Policy("p")(wrong)


# By itself


def test_a_policy_is_imported_without_the_other_rooms_or_their_drivers():
    code = (
        "import sys; from omninode.resilience import Policy; "
        "print(sorted({name.split('.')[1] for name in sys.modules if name.startswith('omninode.')}), "
        "[name for name in ('aiohttp', 'asyncpg', 'pydantic', 'numpy', 'starlette') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['core', 'resilience'] []"
