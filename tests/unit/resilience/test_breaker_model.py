"""The breaker against a small model of what it should do, over random histories."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from omninode.core.errors import BreakerOpenError
from omninode.resilience import CircuitBreaker, CircuitBreakerConfig, CircuitState, Outcome
from omninode.testing.clock import FakeClock

pytestmark = pytest.mark.unit

THRESHOLD, BREAK, CLOSING, PROBES = 3, 10.0, 2, 1
FAILED = {Outcome.TRANSIENT, Outcome.TIMEOUT, Outcome.OVERLOAD}


class Model:
    """The specification, written for reading: what is admitted, and what each ending does."""

    def __init__(self):
        self.state, self.epoch, self.failures, self.successes, self.probes = "closed", 0, 0, 0, 0
        self.opened_at = self.probed_at = 0.0

    def move(self, state, now):
        self.state, self.epoch = state, self.epoch + 1
        self.failures = self.successes = self.probes = 0
        self.opened_at = now

    def admit(self, now):
        if self.state == "open" and now >= self.opened_at + BREAK:
            self.move("half_open", now)
        if self.state == "open":
            return False
        if self.state == "half_open":
            if self.probes >= PROBES and now < self.probed_at + BREAK:
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
            if self.state == "half_open" and self.successes >= CLOSING:
                self.move("closed", now)
        elif outcome in FAILED:
            self.failures += 1
            if self.state == "half_open" or self.failures >= THRESHOLD:
                self.move("open", now)


class BreakerAgainstModel(RuleBasedStateMachine):
    permits = Bundle("permits")

    def __init__(self):
        super().__init__()
        self.clock = FakeClock()
        config = CircuitBreakerConfig(
            failure_threshold=THRESHOLD,
            timeout_seconds=BREAK,
            success_threshold=CLOSING,
            half_open_max_calls=PROBES,
            jitter=0.0,
        )
        self.breaker = CircuitBreaker("b", config, clock=self.clock)
        self.model = Model()
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
