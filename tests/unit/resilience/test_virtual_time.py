"""Limits of time on a loop with a time of its own: neither early nor late, however little real time passes."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from omninode.core import current
from omninode.core.errors import AttemptTimeoutError
from omninode.resilience.circuit import CircuitBreakerConfig
from omninode.resilience.policy import Policy
from omninode.resilience.timeout import AttemptTimeout
from omninode.resilience.wheel import Wheel
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


_LIMIT_S, _STEP_S = 1.0, 0.01
_MOMENTS = st.integers(min_value=0, max_value=2_500).map(lambda ms: ms / 1000)
_CALLS = st.lists(
    st.fixed_dictionaries(
        {"begins": _MOMENTS, "takes": _MOMENTS, "leaves": st.just(60.0) | _MOMENTS, "depth": st.integers(1, 3)}
    ),
    min_size=1,
    max_size=20,
)


async def _ended(policy: Policy, clock: VirtualClock, call: dict[str, Any]) -> tuple[str, float]:
    """How the call ended and after how long; its task is left uncancelled."""

    async def work(seconds: float, depth: int) -> None:
        # Whoever asks for the scope makes it, and the call inside goes through the frame as the outer one did.
        assert current.scope().deadline is None
        if depth > 1:
            await policy.call(work, seconds, depth - 1)
        await clock.sleep(seconds if depth == 1 else 0)

    await clock.sleep(call["begins"])
    began, end = clock.monotonic(), "done"
    task = asyncio.current_task()
    assert task is not None
    leaving = asyncio.get_running_loop().call_later(call["leaves"], task.cancel)
    try:
        await policy.call(work, call["takes"], call["depth"])
    except AttemptTimeoutError:
        end = "late"
    except asyncio.CancelledError:
        end = "left"
        task.uncancel()
    leaving.cancel()
    assert task.cancelling() == 0
    return end, clock.monotonic() - began


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(calls=_CALLS)
def test_calls_that_share_steps_each_end_at_their_own_time_and_leave_nothing(calls: list[dict[str, Any]]) -> None:
    """Many calls through one frame, some inside each other, some cancelled from outside, at any moments."""

    async def main(clock: VirtualClock) -> tuple[list[tuple[str, float]], int]:
        policy = Policy("p", attempt_timeout_s=_LIMIT_S, clock=clock)
        ends = await asyncio.gather(*(_ended(policy, clock, call) for call in calls))
        wheel = vars(policy)["call"].__self__._wheel
        return ends, sum(len(due) for due in (*wheel.due.values(), wheel.latest_due))

    ends, left_behind = run_virtual(main)
    assert left_behind == 0
    for call, (end, took) in zip(calls, ends, strict=True):
        moments = {call["takes"]: "done", call["leaves"]: "left", _LIMIT_S: "late"}
        first, second, _ = sorted((call["takes"], call["leaves"], _LIMIT_S))
        assert first - 1e-6 <= took <= first + 2 * _STEP_S
        if second > first + 2 * _STEP_S:
            assert end == moments[first]


def test_a_step_that_has_fired_is_no_longer_the_one_timers_are_set_in() -> None:
    async def main(clock: VirtualClock) -> list[object]:
        wheel = Wheel(asyncio.get_running_loop(), 1.0)
        step = wheel.step(1.0)
        wheel.turn(step)
        told: list[object] = [wheel.latest == step, list(wheel.due) == [step]]
        await clock.sleep(1.1)
        return [*told, math.isnan(wheel.latest), wheel.due]

    assert run_virtual(main) == [True, True, True, {}]
