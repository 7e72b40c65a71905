"""The breaker against a small model of what it should do, over random histories."""

from __future__ import annotations

import itertools
import math
from typing import ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from omninode.core.errors import BreakerOpenError
from omninode.resilience import CircuitBreaker, CircuitBreakerConfig, CircuitState, Outcome, Sequential
from omninode.testing.clock import FakeClock

pytestmark = pytest.mark.unit

THRESHOLD, BREAK, CLOSING, PROBES = 3, 10.0, 2, 1
UP, DOWN, CLOSED_BELOW = math.log(0.95 / 0.5), math.log(0.05 / 0.5), -4.6
FAILED = {Outcome.TRANSIENT, Outcome.TIMEOUT, Outcome.OVERLOAD}


class Model:
    """The specification, written for reading: what is admitted, and what each ending does."""

    def __init__(self, *, ramps=False, tests=False):
        self.state, self.epoch, self.failures, self.successes, self.probes = "closed", 0, 0, 0, 0
        self.opened_at = self.probed_at = 0.0
        self.ramps, self.tests, self.score = ramps, tests, 0.0

    def move(self, state, now):
        self.state, self.epoch = state, self.epoch + 1
        self.failures = self.successes = self.probes = 0
        self.score = 0.0
        self.opened_at = now

    def admit(self, now):
        if self.state == "open" and now >= self.opened_at + BREAK:
            self.move("half_open", now)
        if self.state == "open":
            return False
        if self.state == "half_open":
            if self.probes >= PROBES + (self.successes if self.ramps else 0) and now < self.probed_at + BREAK:
                return False
            self.probes += 1
            self.probed_at = now
        return True

    def settle(self, epoch, outcome, now):
        if epoch != self.epoch:
            return
        if self.state == "half_open":
            self.probes -= 1
        if outcome is Outcome.SUCCESS:
            self.failures = 0
            self.successes += 1
            self.score += DOWN
        elif outcome in FAILED:
            self.failures += 1
            self.score += UP
        else:
            return
        if self.state == "half_open":
            self.decide(outcome, now)
        elif self.failures >= THRESHOLD:
            self.move("open", now)

    def decide(self, outcome, now):
        if self.tests:
            verdict = "open" if self.score > 0 else "closed" if self.score < CLOSED_BELOW else None
        elif outcome in FAILED:
            verdict = "open"
        else:
            verdict = "closed" if self.successes >= CLOSING else None
        if verdict:
            self.move(verdict, now)


class BreakerAgainstModel(RuleBasedStateMachine):
    permits = Bundle("permits")
    extra: ClassVar = {}
    ramps = tests = False

    def __init__(self):
        super().__init__()
        self.clock = FakeClock()
        config = CircuitBreakerConfig(
            failure_threshold=THRESHOLD,
            timeout_seconds=BREAK,
            success_threshold=CLOSING,
            half_open_max_calls=PROBES,
            jitter=0.0,
            **self.extra,
        )
        self.breaker = CircuitBreaker("b", config, clock=self.clock)
        self.model = Model(ramps=self.ramps, tests=self.tests)
        self.rejected = 0

    @rule(target=permits)
    def hold(self):
        return self.admit()

    def admit(self):
        expected = self.model.admit(self.clock.monotonic())
        try:
            permit = self.breaker.admit()
        except BreakerOpenError:
            assert not expected
            self.rejected += 1
            return None
        assert expected
        return (permit, self.model.epoch)

    @rule(held=consumes(permits), outcome=st.sampled_from(Outcome), again=st.booleans())
    def release(self, held, outcome, again):
        if held is None:
            return
        permit, epoch = held
        permit.release(outcome)
        self.model.settle(epoch, outcome, self.clock.monotonic())
        if again:
            permit.release(Outcome.TRANSIENT)

    @rule(outcome=st.sampled_from([Outcome.TRANSIENT, Outcome.TIMEOUT, Outcome.SUCCESS, Outcome.CLIENT]))
    def call(self, outcome):
        held = self.admit()
        if held is not None:
            held[0].release(outcome)
            self.model.settle(held[1], outcome, self.clock.monotonic())

    @rule()
    def recover(self):
        self.clock.advance(BREAK)
        for _ in range(CLOSING):
            self.call(Outcome.SUCCESS)

    @rule(seconds=st.sampled_from([0.125, 3.0, 5.0, 10.0, 100.0]))
    def wait(self, seconds):
        self.clock.advance(seconds)

    @rule()
    def open_by_hand(self):
        self.breaker.open()
        self.model.move("open", self.clock.monotonic())

    @rule()
    def isolate(self):
        self.breaker.isolate()
        self.model.move("open", float("inf"))

    @rule()
    def close_by_hand(self):
        self.breaker.close()
        self.model.move("closed", self.clock.monotonic())

    @rule()
    def restart(self):
        kept = self.breaker.snapshot()
        self.breaker.restore(kept)
        if self.model.state == "half_open":
            self.model.move("open", self.clock.monotonic() - BREAK)
        else:
            self.model.move(self.model.state, self.model.opened_at)

    @invariant()
    def agree(self):
        assert self.breaker.state.value == self.model.state
        statistics = self.breaker.statistics()
        assert statistics.rejected == self.rejected
        assert statistics.probes_under_way == self.model.probes
        if self.breaker.state is CircuitState.CLOSED:
            assert statistics.retry_after_s == 0.0


BreakerAgainstModel.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestBreakerAgainstModel = BreakerAgainstModel.TestCase


class RampingBreakerAgainstModel(BreakerAgainstModel):
    """The same history with the ramp of probes and the sequential closing test."""

    extra: ClassVar = {"probe_ramp": True, "closing": Sequential()}
    ramps = tests = True


RampingBreakerAgainstModel.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestRampingBreakerAgainstModel = RampingBreakerAgainstModel.TestCase


# Up to four callers, each of which asks once and tells once, in every order that differs by more than their names.


def orders(callers):
    """Every order of asking and telling; the callers are alike, so they ask in the order of their numbers."""

    def grow(order, asked, told):
        if len(order) == 2 * callers:
            yield tuple(order)
            return
        if asked < callers:
            yield from grow([*order, ("ask", asked)], asked + 1, told)
        for number in range(asked):
            if number not in told:
                yield from grow([*order, ("tell", number)], asked, told | {number})

    yield from grow([], 0, frozenset())


def fail_twice(breaker, model):
    for _ in range(2):
        breaker.admit().release(Outcome.TRANSIENT)
        model.settle(model.epoch, Outcome.TRANSIENT, 0.0)


def open_and_wait(breaker, model, clock):
    breaker.open()
    model.move("open", clock.monotonic())
    clock.advance(BREAK)


STARTS = {
    "closed": lambda breaker, model, clock: None,
    "nearly open": lambda breaker, model, clock: fail_twice(breaker, model),
    "break is over": open_and_wait,
}


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("is_ramping", [False, True])
@pytest.mark.parametrize("callers", [1, 2, 3, 4])
def test_every_interleaving_of_a_few_callers_ends_as_the_model_does(start, is_ramping, callers):
    extra: ClassVar = {"probe_ramp": True, "closing": Sequential()} if is_ramping else {}
    config = CircuitBreakerConfig(
        failure_threshold=THRESHOLD, timeout_seconds=BREAK, success_threshold=CLOSING, jitter=0.0, **extra
    )
    kinds = [Outcome.SUCCESS, Outcome.TRANSIENT, Outcome.NEUTRAL]
    for order in orders(callers):
        for ends in itertools.product(kinds, repeat=callers):
            clock, model = FakeClock(), Model(ramps=is_ramping, tests=is_ramping)
            breaker = CircuitBreaker("b", config, clock=clock)
            STARTS[start](breaker, model, clock)
            play(order, ends, breaker, model, clock)


def play(order, ends, breaker, model, clock):
    held = {}
    now = clock.monotonic()
    for step, number in order:
        if step == "ask":
            expected = model.admit(now)
            try:
                held[number] = (breaker.admit(), model.epoch)
            except BreakerOpenError:
                assert not expected
            else:
                assert expected
        elif number in held:
            permit, epoch = held.pop(number)
            permit.release(ends[number])
            model.settle(epoch, ends[number], now)
        assert (breaker.state.value, breaker._probes.under_way) == (model.state, model.probes)
