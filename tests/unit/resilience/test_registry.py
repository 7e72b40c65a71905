"""The same name means the same breaker."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from omninode.core import current
from omninode.core.errors import BreakerOpenError, InvalidArgumentError
from omninode.resilience import BreakerRegistry, CircuitBreakerConfig, CircuitState, call_with_breaker

pytestmark = pytest.mark.unit


async def down():
    raise ConnectionError("down")


async def echo(value, **kwargs):
    return (value, kwargs)


async def test_the_document_form_returns_the_value():
    assert await call_with_breaker("s", None, echo, 1, x=2) == (1, {"x": 2})
    assert await call_with_breaker(breaker_name="s", config=None, func=echo, value=3) == (3, {})


async def test_two_calls_with_one_name_share_a_breaker():
    for _ in range(5):
        with pytest.raises(ConnectionError):
            await call_with_breaker(breaker_name="s", config=CircuitBreakerConfig(), func=down)
    with pytest.raises(BreakerOpenError):
        await asyncio.create_task(call_with_breaker("s", CircuitBreakerConfig(), echo, 1))
    assert await call_with_breaker("other", CircuitBreakerConfig(), echo, 1) == (1, {})


def test_without_a_runtime_the_state_ends_with_the_event_loop():
    config = CircuitBreakerConfig(failure_threshold=1)
    for _ in range(2):
        with pytest.raises(ConnectionError):
            asyncio.run(call_with_breaker("s", config, down))


async def test_the_open_runtime_supplies_the_breakers(clock):
    registry = BreakerRegistry(CircuitBreakerConfig(failure_threshold=1), clock=clock)
    with current.entered(runtime=SimpleNamespace(breakers=registry)), pytest.raises(ConnectionError):
        await call_with_breaker("s", None, down)
    assert registry.get("s").state is CircuitState.OPEN


def test_one_name_with_two_configurations_is_refused():
    registry = BreakerRegistry()
    registry.get("s", CircuitBreakerConfig(failure_threshold=2))
    assert registry.get("s", CircuitBreakerConfig(failure_threshold=2)) is registry.get("s")
    with pytest.raises(InvalidArgumentError, match="another configuration"):
        registry.get("s", CircuitBreakerConfig(failure_threshold=3))


def test_a_full_registry_lets_the_longest_unused_closed_breaker_go():
    registry = BreakerRegistry(max_size=3)
    broken = registry.get("broken")
    broken.open()
    idle, used = registry.get("idle"), registry.get("used")
    registry.get("newcomer")
    assert (len(registry), registry.evicted) == (3, 1)
    assert registry.get("broken") is broken
    assert registry.get("used") is used
    assert registry.get("idle") is not idle


def test_a_breaker_made_later_takes_up_its_stored_state(clock):
    before = BreakerRegistry(clock=clock)
    before.get("b").open()
    before.get("a")
    after = BreakerRegistry(clock=clock)
    after.restore(before.snapshots())
    assert [snapshot.name for snapshot in before.snapshots()] == ["a", "b"]
    assert after.get("b", CircuitBreakerConfig(failure_threshold=9)).state is CircuitState.OPEN
    assert after.get("a").state is CircuitState.CLOSED
