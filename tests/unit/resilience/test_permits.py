"""Whatever a policy holds for a call is given back exactly once, however the call ends."""

from __future__ import annotations

import asyncio

import pytest

from omninode.core import current
from omninode.core.errors import OmniNodeError, RequestRejectedError
from omninode.resilience import (
    Adaptive,
    BulkheadConfig,
    CircuitBreakerConfig,
    CircuitState,
    Hedge,
    Park,
    Policy,
    RetryConfig,
    SoftTimeout,
)

pytestmark = pytest.mark.unit

STACKS = {
    "compiled": {"deadline_s": 60.0, "attempt_timeout_s": 0.02},
    "everything": {
        "deadline_s": 60.0,
        "attempt_timeout_s": 0.02,
        "park": Park(),
        "bulkhead": BulkheadConfig(max_concurrent=3),
        "limit": Adaptive(start=3),
        "hedge": Hedge(min_samples=1),
        "soft_timeout": SoftTimeout(min_samples=1, at_least_s=0.01),
    },
}
HALF_OPEN = CircuitBreakerConfig(timeout_seconds=0.001, half_open_max_calls=1, success_threshold=1000)


async def succeed():
    await asyncio.sleep(0)


async def fail():
    await asyncio.sleep(0)
    raise ConnectionError("down")


async def reject():
    raise RequestRejectedError("bad", status=400)


async def hang():
    await asyncio.Event().wait()


def kept(policy):
    statistics = policy.statistics()
    places = [part for part in (statistics.bulkhead, statistics.limit) if part is not None]
    held = [count for part in places for count in (part.running, part.waiting)]
    parked = statistics.parking.parked if statistics.parking else 0
    return [*held, parked, statistics.breaker.probes_under_way]


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("work", [succeed, fail, reject, hang])
@pytest.mark.parametrize("state", [CircuitState.CLOSED, CircuitState.HALF_OPEN])
@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_nothing_is_kept_and_nothing_given_back_twice(stack, work, state, is_cancelled):
    config = CircuitBreakerConfig() if state is CircuitState.CLOSED else HALF_OPEN
    policy = Policy("p", breaker=config, retry=RetryConfig(max_retries=1, base_delay=0.0), **STACKS[stack])
    await policy.call(succeed)
    if state is CircuitState.HALF_OPEN:
        policy.breaker.open()
        await asyncio.sleep(0.002)
    task = asyncio.ensure_future(policy.call(work))
    for _ in range(3):
        await asyncio.sleep(0)
    if is_cancelled:
        task.cancel()
        await asyncio.wait([task])
    else:
        async with asyncio.timeout(5.0):
            if state is CircuitState.HALF_OPEN and work in {fail, hang}:
                # Opened again by its probe, the breaker would park the retry for its growing break: isolated, it fails.
                while policy.breaker.state is CircuitState.HALF_OPEN:
                    await asyncio.sleep(0.001)
                policy.breaker.isolate()
            await asyncio.wait([task])
    assert task.cancelled() or isinstance(task.exception(), ConnectionError | OmniNodeError | None)
    assert not any(kept(policy))
    assert current.scope().deadline is None
    policy.breaker.close()
    await policy.call(succeed)
    assert not any(kept(policy))
