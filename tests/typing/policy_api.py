"""The types of the public API, as a caller sees them: checked by mypy and pyright, both strict, never run.

`tests/unit/resilience/test_typing.py` runs the checks. A line that must not type-check carries an ignore, and both
complain of one that is not needed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import assert_type

from omninode.resilience import (
    AdaptiveTimeout,
    CallOutcome,
    Choice,
    CircuitBreaker,
    CircuitBreakerConfig,
    Policy,
    RetryConfig,
    RetryManager,
    Target,
    call_with_breaker,
    execute_with_retry,
)

policy = Policy("p", deadline_s=5.0, retry=RetryConfig(), breaker=CircuitBreakerConfig.sequential())


async def ask(question: str, *, times: int = 1) -> list[str]:
    return [question] * times


async def ask_at(address: bytes, question: str, *, times: int = 1) -> list[str]:
    return [question] * times


async def tokens(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b""


def plain(value: int) -> float:
    return float(value)


@policy
async def decorated(question: str, *, times: int = 1) -> list[str]:
    return [question] * times


@policy
async def decorated_stream(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b""


@policy
def decorated_plain(value: int) -> float:
    return float(value)


async def what_goes_in_and_comes_out() -> None:
    assert_type(await policy.call(ask, "q", times=2), list[str])
    assert_type(await policy.outcome(ask, "q"), CallOutcome[list[str]])
    assert_type((await policy.outcome(ask, "q")).unwrap(), list[str])
    assert_type(policy.call_blocking(plain, 1), float)
    choice = Choice("c", [Target("eu", value=b"eu")])
    assert_type(await choice.call(ask_at, "q", times=2), list[str])
    assert_type(await choice.outcome(ask_at, "q"), CallOutcome[list[str]])
    await choice.call(ask_at, 1)  # type: ignore[arg-type]
    chain = policy.then(Policy("q", attempt_timeout_s=AdaptiveTimeout()))
    assert_type(await chain.call(ask, "q", times=2), list[str])
    assert_type(await chain.outcome(ask, "q"), CallOutcome[list[str]])
    await chain.call(ask, 1)  # type: ignore[arg-type]
    async for token in policy.stream(tokens, 3):
        assert_type(token, bytes)
    assert_type(await decorated("q", times=2), list[str])
    async for token in decorated_stream(3):
        assert_type(token, bytes)
    assert_type(decorated_plain(1), float)
    assert_type(await CircuitBreaker("b").call(ask, "q"), list[str])
    assert_type(await RetryManager().execute(ask, "q"), list[str])
    assert_type(await call_with_breaker("b", None, ask, "q"), list[str])
    assert_type(await execute_with_retry(None, None, ask, "q"), list[str])
    async with policy.guard():
        pass


async def what_must_not_pass() -> None:
    await policy.call(ask)  # type: ignore[call-arg]
    await policy.call(ask, 1)  # type: ignore[arg-type]
    await policy.call(ask, "q", often=2)  # type: ignore[call-arg]
    await decorated(1)  # type: ignore[arg-type]
    policy.call_blocking(plain, "1")  # type: ignore[arg-type]
    policy.stream(tokens, "3")  # type: ignore[arg-type]
    Policy("p", retry=3)  # type: ignore[arg-type]
    Policy("p", 5.0)  # type: ignore[call-arg]
