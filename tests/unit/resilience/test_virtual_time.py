"""Limits of time on a loop with a time of its own: neither early nor late, however little real time passes."""

from __future__ import annotations

import asyncio

import pytest

from omninode.core.errors import AttemptTimeoutError
from omninode.resilience.circuit import CircuitBreakerConfig
from omninode.resilience.policy import Policy
from omninode.resilience.timeout import AttemptTimeout
from omninode.testing.virtual_time import VirtualClock, run_virtual

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("kind", ["timeout", "policy", "policy with a breaker"])
def test_each_attempt_has_its_own_time_on_the_loop_that_runs_it(kind: str) -> None:
    async def main(clock: VirtualClock) -> list[float]:
        breaker = CircuitBreakerConfig(failure_threshold=100) if "breaker" in kind else None
        policy = Policy("p", attempt_timeout_s=5.0, breaker=breaker, clock=clock)
        limit = AttemptTimeout("t", 5.0)
        took: list[float] = []

        async def hang() -> None:
            await asyncio.get_running_loop().create_future()

        async def one() -> None:
            began = clock.monotonic()
            with pytest.raises(AttemptTimeoutError):
                await (limit.call(hang) if kind == "timeout" else policy.call(hang))
            took.append(clock.monotonic() - began)

        async with asyncio.TaskGroup() as group:
            for _ in range(40):
                group.create_task(one())
                await clock.sleep(0.25)
        return took

    assert run_virtual(main) == pytest.approx([5.0] * 40, abs=0.03)
