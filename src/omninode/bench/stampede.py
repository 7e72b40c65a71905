"""A hundred callers at once where only one should pass, and a hundred who leave: counted, on virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from omninode.core.concurrency import cancel_and_wait, gather_settled
from omninode.core.errors import ProviderUnavailableError
from omninode.resilience.breaker import CircuitBreaker
from omninode.resilience.bulkhead import BulkheadConfig
from omninode.resilience.circuit import CircuitBreakerConfig, CircuitState
from omninode.resilience.policy import Policy
from omninode.resilience.schedule import RetryConfig
from omninode.simulation.virtual_time import VirtualClock, run_virtual

__all__ = ["leaked_permits", "moved_states", "stampede_hits"]

_CALLERS = 100
_PLACES = 10


def stampede_hits(config: CircuitBreakerConfig) -> int:
    """How many of a hundred callers, who come when the break of a breaker ends, reach a target that is still dead."""

    async def main(clock: VirtualClock) -> int:
        hits = 0

        async def dead() -> None:
            nonlocal hits
            hits += 1
            await clock.sleep(1.0)
            raise ProviderUnavailableError("dead: still so", status=500)

        breaker = await _break_over(config, clock)
        await gather_settled([lambda: breaker.call(dead)] * _CALLERS)
        return hits

    return run_virtual(main)


def leaked_permits(config: CircuitBreakerConfig, retry: RetryConfig) -> int:
    """How many places and probes are still taken after a hundred callers of a hanging target were cancelled.

    Once with the breaker closed and a bulkhead most of them wait for, once with the breaker half open.
    """

    async def main(clock: VirtualClock) -> int:
        breakers = [CircuitBreaker("closed", config, clock=clock), await _break_over(config, clock)]
        leaked = 0
        for breaker in breakers:
            policy = Policy(
                "leak",
                retry=retry,
                breaker=breaker,
                bulkhead=BulkheadConfig(max_concurrent=_PLACES, max_queue=_CALLERS),
                clock=clock,
            )
            await _cancelled(partial(policy.call, _hang), clock)
            assert policy.bulkhead is not None
            places = policy.bulkhead.statistics()
            leaked += places.running + places.waiting + breaker.statistics().probes_under_way
        return leaked

    return run_virtual(main)


def moved_states(config: CircuitBreakerConfig) -> int:
    """How many of two breakers, one closed and one half open, changed state because their callers left."""

    async def main(clock: VirtualClock) -> int:
        closed, half_open = CircuitBreaker("closed", config, clock=clock), await _break_over(config, clock)
        for breaker in (closed, half_open):
            await _cancelled(partial(breaker.call, _hang), clock)
        return (closed.state is not CircuitState.CLOSED) + (half_open.state is not CircuitState.HALF_OPEN)

    return run_virtual(main)


async def _break_over(config: CircuitBreakerConfig, clock: VirtualClock) -> CircuitBreaker:
    """A breaker whose break has just ended: the next caller probes."""
    breaker = CircuitBreaker("probed", config, clock=clock)
    breaker.open()
    await clock.sleep((breaker.retry_after_s or 0.0) + 0.001)
    return breaker


async def _hang() -> None:
    await asyncio.get_running_loop().create_future()


async def _cancelled(call: Callable[[], Awaitable[object]], clock: VirtualClock) -> None:
    async def one() -> None:
        await gather_settled([call])

    tasks = [asyncio.ensure_future(one()) for _ in range(_CALLERS)]
    await clock.sleep(0.01)
    await cancel_and_wait(tasks)
