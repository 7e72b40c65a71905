"""Every permit that is admitted is released exactly once: in every form of a policy, whichever way the call ends."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress

import pytest

from omninode.core import current
from omninode.core.errors import AttemptTimeoutError, DeadlineExceededError, RequestRejectedError
from omninode.resilience import (
    Adaptive,
    BulkheadConfig,
    CircuitBreaker,
    CircuitBreakerConfig,
    Hedge,
    Outcome,
    Policy,
    RetryConfig,
    SlowCallRate,
    SoftTimeout,
)

pytestmark = pytest.mark.unit

# A detector that looks at times: its breaker gives every call a permit, where another admits most by a ticket alone.
TIMED = SlowCallRate(slower_than_s=60.0, calls=1000, min_calls=1000)
ENDS = {
    "success": Outcome.SUCCESS,
    "error": Outcome.TRANSIENT,
    "client fault": Outcome.CLIENT,
    "cancel": Outcome.NEUTRAL,
    "timeout": Outcome.TIMEOUT,
    "close": Outcome.NEUTRAL,
}


class CountedPermit:
    """A permit that writes down how it was released."""

    def __init__(self, permit):
        self._permit, self.outcomes = permit, []

    def __getattr__(self, name):
        return getattr(self._permit, name)

    def release(self, outcome, *, cause=""):
        self.outcomes.append(outcome)
        self._permit.release(outcome, cause=cause)


class CountingBreaker(CircuitBreaker):
    """Writes down its permits."""

    def __init__(self):
        config = CircuitBreakerConfig(failure_threshold=1000, detector=TIMED)
        super().__init__("counted", config)
        self.permits = []

    def admit(self):
        self.permits.append(CountedPermit(super().admit()))
        return self.permits[-1]


class CountingTickets(CircuitBreaker):
    """Writes down how calls admitted by a ticket were settled; those that count in `passed` are successes."""

    def __init__(self):
        super().__init__("counted", CircuitBreakerConfig(failure_threshold=1000))
        self.outcomes = []

    def _settle(self, generation, outcome, cause, started=0.0):
        self.outcomes.append(outcome)
        super()._settle(generation, outcome, cause, started)

    @property
    def settled(self):
        return [*self.outcomes, *[Outcome.SUCCESS] * self.passed]


async def work(end):
    await asyncio.sleep(0)
    if end == "error":
        raise ConnectionError("down")
    if end == "client fault":
        raise RequestRejectedError("bad", status=400)
    if end in {"cancel", "timeout", "close"}:
        await asyncio.Event().wait()
    return "value"


async def items(end):
    yield "first"
    yield await work(end)


def plain(end):
    if end == "error":
        raise ConnectionError("down")
    if end == "client fault":
        raise RequestRejectedError("bad", status=400)
    return "value"


async def consume(policy, end):
    async with aclosing(policy.stream(items, end)) as opened:
        async for _ in opened:
            if end == "close":
                return


async def block(policy, end):
    async with policy.guard():
        await work(end)


FORMS = {
    "call": lambda policy, end: policy.call(work, end),
    "outcome": lambda policy, end: policy.outcome(work, end),
    "stream": consume,
    "guard": block,
}
STACKS = {
    "compiled": {},
    "bulkhead": {"bulkhead": BulkheadConfig(max_concurrent=1)},
    "limit": {"limit": Adaptive(start=2)},
    "soft timeout": {"soft_timeout": SoftTimeout(min_samples=1, at_least_s=0.005)},
    "patient soft timeout": {"soft_timeout": SoftTimeout(min_samples=1, at_least_s=60.0)},
    "hedge": {"hedge": Hedge(min_samples=1)},
}


def fits(form, stack, end):
    if form == "stream":
        return stack in {"compiled", "bulkhead"}
    # A block has no attempt to limit: the deadline ends it, and nobody is blamed.
    if stack == "soft timeout" and end != "timeout":
        # On a slow machine it would speak of calls that end well.
        return False
    return (form != "guard" or stack in {"compiled", "bulkhead"}) and end != "close"


CASES = [(form, stack, end) for form in FORMS for stack in STACKS for end in ENDS if fits(form, stack, end)]


async def ended(form, policy, end):
    """The call, ended as `end` says; a coroutine that is closed is one whose task was thrown away."""
    task = asyncio.ensure_future(FORMS[form](policy, end))
    if end == "cancel":
        for _ in range(4):
            await asyncio.sleep(0)
        task.cancel()
    await asyncio.wait([task])
    if not task.cancelled() and (error := task.exception()) is not None:
        assert isinstance(error, ConnectionError | RequestRejectedError | AttemptTimeoutError | DeadlineExceededError)


@pytest.mark.parametrize(("form", "stack", "end"), CASES)
async def test_each_permit_is_released_once_with_how_the_call_ended(form, stack, end):
    breaker = CountingBreaker()
    limits = {"deadline_s": 60.0}
    if end == "timeout":
        limits = {"deadline_s": 0.05} if form == "guard" else {"deadline_s": 60.0, "attempt_timeout_s": 0.02}
    policy = Policy("p", breaker=breaker, retry=RetryConfig(max_retries=1, base_delay=0.0), **limits, **STACKS[stack])
    while not breaker.permits or breaker.permits[-1].outcomes[0] is not Outcome.SUCCESS:
        # One success, from which the parts that learn begin; a slow machine may need more than one call for it.
        with suppress(AttemptTimeoutError, DeadlineExceededError):
            await policy.call(asyncio.sleep, 0)
    breaker.permits.clear()
    await ended(form, policy, end)
    expected = Outcome.NEUTRAL if (form, end) == ("guard", "timeout") else ENDS[end]
    released = [permit.outcomes for permit in breaker.permits]
    if stack == "soft timeout":
        # The early word counts; the late one is heard by nobody.
        assert {outcomes[0] for outcomes in released} <= {Outcome.TIMEOUT, Outcome.NEUTRAL}
    elif stack == "hedge":
        # A loser is cancelled, the others end as the call does.
        assert all(outcomes in ([expected], [Outcome.NEUTRAL]) for outcomes in released)
    else:
        assert released == [[expected]] * len(released)
    assert released
    assert all(not permit.is_held for permit in breaker.permits)
    statistics = policy.statistics()
    for part in (statistics.bulkhead, statistics.limit):
        assert part is None or (part.running, part.waiting) == (0, 0)
    assert current.scope().deadline is None
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("end", [end for end in ENDS if end != "close"])
@pytest.mark.parametrize("is_limited", [False, True])
@pytest.mark.parametrize("retry", [None, RetryConfig(max_retries=1, base_delay=0.0)])
async def test_each_ticket_of_a_compiled_frame_is_settled_once(is_limited, retry, end):
    if end == "timeout" and not is_limited:
        pytest.skip("nothing ends it")
    breaker = CountingTickets()
    limits = {"attempt_timeout_s": 0.02 if end == "timeout" else 60.0} if is_limited else {}
    policy = Policy("p", breaker=breaker, retry=retry, **limits)
    assert "call" in vars(policy)
    await ended("call", policy, end)
    attempts = 2 if retry is not None and end in {"error", "timeout"} else 1
    assert breaker.settled == [ENDS[end]] * attempts


@pytest.mark.parametrize("end", ["success", "error", "client fault"])
def test_each_permit_of_a_plain_function_is_released_once(end):
    breaker = CountingBreaker()
    policy = Policy("p", breaker=breaker, retry=RetryConfig(max_retries=1, base_delay=0.0))
    with suppress(ConnectionError, RequestRejectedError):
        policy.call_blocking(plain, end)
    attempts = 2 if end == "error" else 1
    assert [permit.outcomes for permit in breaker.permits] == [[ENDS[end]]] * attempts


@pytest.mark.parametrize("turns", range(6))
async def test_a_hedged_call_cancelled_at_any_turn_releases_both_its_permits(turns):
    breaker = CountingBreaker()
    policy = Policy("p", breaker=breaker, hedge=Hedge(min_samples=1))
    await policy.call(asyncio.sleep, 0)
    breaker.permits.clear()
    task = asyncio.ensure_future(policy.call(work, "cancel"))
    for _ in range(turns):
        await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert [permit.outcomes for permit in breaker.permits] == [[Outcome.NEUTRAL]] * len(breaker.permits)
    assert asyncio.all_tasks() == {asyncio.current_task()}
