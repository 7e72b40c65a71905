"""Other libraries' retries and breakers, each set up as its manual says: what ours are measured against.

They are the optional extra `bench`; what is not installed is left out, and named. They are loaded by name because
nothing of ours needs them, and most of them have no types.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from importlib import import_module
from importlib.metadata import version

__all__ = ["Call", "Peers", "load_peers"]

Call = Callable[[], Awaitable[object]]

_ATTEMPTS = 4
_THRESHOLD = 5
_BREAK_S = 30.0
_DEADLINE_S = 30.0


class Peers:
    """What could be loaded: `calls` by package, `stacks` of retry, breaker and limit of time, `missing` packages."""

    def __init__(self) -> None:
        self.calls: dict[str, Call] = {}
        self.stacks: dict[str, Call] = {}
        self.missing: list[str] = []
        self.versions: list[str] = []


async def load_peers(func: Call) -> Peers:
    """Every peer around `func`, as far as it is installed."""
    peers = Peers()
    for package, build in _BUILDS.items():
        try:
            import_module(package)
        except ImportError:
            peers.missing.append(package)
            continue
        peers.calls[package] = await build(func)
        peers.versions.append(f"{package} {version(package)}")
    for name, (needed, build) in _STACKS.items():
        if not set(needed) & set(peers.missing):
            peers.stacks[name] = await build(func)
    return peers


async def _tenacity(func: Call) -> Call:
    tenacity = import_module("tenacity")
    wrapped: Call = tenacity.retry(
        stop=tenacity.stop_after_attempt(_ATTEMPTS), wait=tenacity.wait_random_exponential(0.1, 10), reraise=True
    )(func)
    return wrapped


async def _stamina(func: Call) -> Call:
    wrapped: Call = import_module("stamina").retry(on=Exception, attempts=_ATTEMPTS)(func)
    return wrapped


async def _backoff(func: Call) -> Call:
    backoff = import_module("backoff")
    wrapped: Call = backoff.on_exception(backoff.expo, Exception, max_tries=_ATTEMPTS)(func)
    return wrapped


async def _pybreaker(func: Call) -> Call:
    # Its `call_async` needs Tornado and its decorator guards the making of the coroutine; this is what is left.
    breaker = import_module("pybreaker").CircuitBreaker(fail_max=_THRESHOLD, reset_timeout=_BREAK_S)

    async def guarded() -> object:
        with breaker.calling():
            return await func()

    return guarded


async def _aiobreaker(func: Call) -> Call:
    breaker = import_module("aiobreaker").CircuitBreaker(
        fail_max=_THRESHOLD, timeout_duration=timedelta(seconds=_BREAK_S)
    )

    async def guarded() -> object:
        answer: object = await breaker.call_async(func)
        return answer

    return guarded


async def _purgatory(func: Call) -> Call:
    factory = import_module("purgatory").AsyncCircuitBreakerFactory(default_threshold=_THRESHOLD, default_ttl=_BREAK_S)
    breaker = await factory.get_breaker("bench")

    async def guarded() -> object:
        async with breaker:
            return await func()

    return guarded


async def _hyx(func: Call) -> Call:
    breaker = import_module("hyx.circuitbreaker").consecutive_breaker(
        failure_threshold=_THRESHOLD, recovery_time_secs=_BREAK_S
    )
    wrapped: Call = breaker(func)
    return wrapped


def _timed(func: Call) -> Call:
    async def limited() -> object:
        async with asyncio.timeout(_DEADLINE_S):
            return await func()

    return limited


def _waited(func: Call) -> Call:
    async def limited() -> object:
        # The other arm is what people write; that it can lose a cancellation is why we do not.
        return await asyncio.wait_for(func(), _DEADLINE_S)

    return limited


async def _stamina_stack(func: Call) -> Call:
    return await _stamina(await _aiobreaker(_timed(func)))


async def _tenacity_stack(func: Call) -> Call:
    return await _tenacity(await _purgatory(_waited(func)))


async def _backoff_stack(func: Call) -> Call:
    return await _backoff(await _aiobreaker(_timed(func)))


async def _hyx_stack(func: Call) -> Call:
    limited: Call = import_module("hyx.timeout").timeout(_DEADLINE_S)(func)
    wrapped: Call = import_module("hyx.retry").retry(on=Exception, attempts=_ATTEMPTS)(await _hyx(limited))
    return wrapped


_Build = Callable[[Call], Awaitable[Call]]

_BUILDS: dict[str, _Build] = {
    "hyx": _hyx,
    "aiobreaker": _aiobreaker,
    "purgatory": _purgatory,
    "pybreaker": _pybreaker,
    "backoff": _backoff,
    "stamina": _stamina,
    "tenacity": _tenacity,
}

_STACKS: dict[str, tuple[tuple[str, ...], _Build]] = {
    "stamina + aiobreaker + timeout": (("stamina", "aiobreaker"), _stamina_stack),
    "tenacity + purgatory + wait_for": (("tenacity", "purgatory"), _tenacity_stack),
    "backoff + aiobreaker + timeout": (("backoff", "aiobreaker"), _backoff_stack),
    "hyx retry + breaker + timeout": (("hyx",), _hyx_stack),
}
