"""The breaker against a small model of what it should do: random histories, and every order of a few callers."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import Counter
from typing import ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from omninode.core.errors import BreakerOpenError, ThrottledError
from omninode.resilience import CircuitBreaker, CircuitBreakerConfig, Outcome, Sequential
from omninode.testing.clock import FakeClock

pytestmark = pytest.mark.unit

THRESHOLD, BREAK, LONGEST, CLOSING, CALM = 3, 10.0, 35.0, 2, 50
UP, DOWN, HEIGHT, CLOSED_BELOW = math.log(0.95 / 0.5), math.log(0.05 / 0.5), math.log(22_026.0), -4.6
NEVER = (math.inf, math.inf)
FAILED = {Outcome.TRANSIENT, Outcome.TIMEOUT, Outcome.OVERLOAD}
ERRORS = {
    Outcome.TRANSIENT: ConnectionError("down"),
    Outcome.TIMEOUT: TimeoutError(),
    Outcome.OVERLOAD: ThrottledError("busy", status=429),
    Outcome.CLIENT: TypeError("bug"),
    Outcome.NEUTRAL: asyncio.CancelledError(),
}


class Model:
    """The specification, written for reading: what is admitted, and what each ending does.

    `scores` is whether it opens by the sequential test, `tests` whether it closes by one.
    """

    def __init__(self, *, probes=1, ramps=False, scores=False, tests=False, growth=1.0):
        self.quota, self.ramps, self.scores, self.tests, self.growth = probes, ramps, scores, tests, growth
        self.state, self.epoch, self.counts = "closed", 0, Counter()
        # Of this state: evidence against the target, good probes, probes under way, their score.
        self.evidence = self.good = self.probes = self.score = 0
        self.began = self.until = self.probed_at = 0.0
        self.openings = self.calm = 0
        self.alert = NEVER

    def move(self, state):
        self.state, self.epoch = state, self.epoch + 1
        self.evidence = self.good = self.probes = self.score = self.calm = 0
        self.alert = NEVER

    def open(self, now):
        self.openings += 1
        self.counts["openings"] += 1
        self.began, self.until = now, now + self.length()
        self.move("open")

    def length(self):
        return min(LONGEST, BREAK * self.growth ** max(0, self.openings - 1))

    def isolate(self):
        self.began, self.until = -math.inf, math.inf
        self.move("open")

    def allowed(self):
        return self.quota + (self.good if self.ramps else 0)

    def has_free(self, now):
        return self.probes < self.allowed() or not 0 <= now - self.probed_at < self.length()

    def admit(self, now):
        if self.state == "open" and not self.began <= now < self.until:
            self.move("half_open")
        if self.state == "open" or (self.state == "half_open" and not self.has_free(now)):
            self.counts["rejected"] += 1
            return False
        if self.state == "half_open":
            self.probes += 1
            self.probed_at = now
        return True

    def settle(self, epoch, outcome, now):
        if epoch != self.epoch:
            self.counts["stale"] += 1
            return
        kind = "successes" if outcome is Outcome.SUCCESS else "failures" if outcome in FAILED else "neutral"
        self.counts[kind] += 1
        if self.state == "closed":
            self.weigh(kind, now)
        else:
            self.probes -= 1
            self.judge(kind, now)

    def weigh(self, kind, now):
        is_alert = self.alert[0] <= now < self.alert[1]
        if kind == "successes":
            self.evidence = max(0, self.evidence + DOWN) if self.scores else 0
            self.calm += self.openings > 0
            if self.calm == CALM:
                self.openings = 0
        elif kind == "failures":
            self.evidence += UP if self.scores else 1
            needed = HEIGHT if self.scores else THRESHOLD
            if is_alert:
                needed = 0.75 * HEIGHT if self.scores else math.ceil(THRESHOLD / 2)
            if self.evidence >= needed:
                self.open(now)

    def judge(self, kind, now):
        if kind == "neutral":
            return
        self.good += kind == "successes"
        self.score += DOWN if kind == "successes" else UP
        if self.score > 0 if self.tests else kind == "failures":
            self.open(now)
        elif self.score < CLOSED_BELOW if self.tests else self.good >= CLOSING:
            if self.tests:
                self.openings = min(1, self.openings)
            self.move("closed")

    def retry_after_s(self, now):
        if self.state == "open":
            left = self.until - now if self.began <= now < self.until else 0.0
            return None if left == math.inf else left
        return 0.0 if self.state == "closed" or self.has_free(now) else 0.3


def config_of(**extra):
    usual = {"failure_threshold": THRESHOLD, "timeout_seconds": BREAK, "success_threshold": CLOSING, "jitter": 0.0}
    return CircuitBreakerConfig(**(usual | {"max_break_seconds": LONGEST} | extra))


def agree(breaker, model, now):
    told = breaker.statistics()
    assert (told.state.value, told.generation) == (model.state, model.epoch)
    counts = {
        name: getattr(told, name) for name in ("successes", "failures", "neutral", "rejected", "stale", "openings")
    }
    assert counts == {name: model.counts[name] for name in counts}
    assert (told.probes_under_way, told.retry_after_s) == (model.probes, pytest.approx(model.retry_after_s(now)))
    assert breaker.detector.is_calm is (model.evidence == 0)
    # The cheap way of admitting is open exactly while a permit would say no more.
    assert breaker.ticket == (model.epoch + 1 if model.state == "closed" and not model.openings else 0)


class Answer:
    """Waits until it is told what to answer."""

    def __await__(self):
        return (yield)


class UnderWay:
    """A call through `breaker.call` that has begun, ended by hand: no event loop, so nothing else happens meanwhile."""

    def __init__(self, breaker):
        self.call = breaker.call(Answer)
        self.call.send(None)

    def release(self, outcome):
        if outcome is Outcome.SUCCESS:
            with pytest.raises(StopIteration):
                self.call.send("value")
        elif outcome is Outcome.NEUTRAL:
            self.call.close()
        else:
            error = ERRORS[outcome]
            with pytest.raises(type(error)):
                self.call.throw(error)


class BreakerAgainstModel(RuleBasedStateMachine):
    permits = Bundle("permits")
    extra: ClassVar = {}
    traits: ClassVar = {}

    def __init__(self):
        super().__init__()
        self.clock = FakeClock()
        self.breaker = CircuitBreaker("b", config_of(**self.extra), clock=self.clock)
        self.model = Model(**self.traits)

    @property
    def now(self):
        return self.clock.monotonic()

    def begin(self, start):
        expected = self.model.admit(self.now)
        try:
            held = start()
        except BreakerOpenError:
            assert not expected
            return None
        assert expected
        return (held, self.model.epoch)

    def end(self, held, outcome):
        if held is not None:
            held[0].release(outcome)
            self.model.settle(held[1], outcome, self.now)

    @rule(target=permits, is_call=st.booleans())
    def hold(self, is_call):
        return self.begin((lambda: UnderWay(self.breaker)) if is_call else self.breaker.admit)

    @rule(held=consumes(permits), outcome=st.sampled_from(Outcome), then=st.sampled_from(["", "again", "hear"]))
    def release(self, held, outcome, then):
        self.end(held, outcome)
        if held is None or isinstance(held[0], UnderWay):
            return
        if then == "again":
            held[0].release(Outcome.TRANSIENT)
        if then == "hear":
            self.breaker.hear(held[0], Outcome.SUCCESS)
            if held[1] == self.model.epoch and self.model.state == "closed":
                self.model.settle(held[1], Outcome.SUCCESS, self.now)

    @rule(outcome=st.sampled_from(Outcome), times=st.sampled_from([1, 2, 8, 16]), is_call=st.booleans())
    def call(self, outcome, times, is_call):
        for _ in range(times):
            self.end(self.hold(is_call), outcome)

    @rule(times=st.sampled_from([CALM - 1, CALM]))
    def stay_calm(self, times):
        self.call(Outcome.SUCCESS, times, is_call=True)

    @rule()
    def recover(self):
        self.clock.advance(LONGEST)
        self.call(Outcome.SUCCESS, CLOSING, is_call=False)

    @rule(outcomes=st.lists(st.sampled_from(Outcome), min_size=1, max_size=5))
    def probe(self, outcomes):
        self.clock.advance(LONGEST)
        for outcome in outcomes:
            self.call(outcome, 1, is_call=False)

    @rule(seconds=st.sampled_from([0.125, 3.0, 5.0, 10.0, 100.0, -3600.0]))
    def wait(self, seconds):
        self.clock.advance(seconds)

    @rule()
    def alert(self):
        self.breaker.detector.sensitise(20.0)
        self.model.alert = (self.now, self.now + 20.0)

    @rule()
    def open_by_hand(self):
        self.breaker.open()
        self.model.open(self.now)

    @rule()
    def isolate(self):
        self.breaker.isolate()
        self.model.isolate()

    @rule()
    def close_by_hand(self):
        self.breaker.close()
        self.model.move("closed")

    @rule()
    def reset(self):
        self.breaker.reset()
        self.model.openings = 0
        self.model.move("closed")
        self.model.counts.clear()

    @rule()
    def restart(self):
        kept = self.breaker.snapshot()
        self.breaker.restore(kept)
        model, left = self.model, self.model.retry_after_s(self.now)
        model.counts.update({name: model.counts[name] for name in ("successes", "failures")})
        if model.state == "closed":
            model.move("closed")
            return
        model.openings = max(1, model.openings)
        if left is not None:
            left = left if model.state == "open" else 0.0
            model.began, model.until = self.now, self.now + left
        model.move("open")

    @invariant()
    def agrees(self):
        agree(self.breaker, self.model, self.now)


BreakerAgainstModel.TestCase.settings = settings(stateful_step_count=40, deadline=None)
TestBreakerAgainstModel = BreakerAgainstModel.TestCase


class RecommendedBreakerAgainstModel(BreakerAgainstModel):
    """The same histories with sequential tests for opening and closing, probes that ramp, breaks that grow."""

    extra: ClassVar = {"probe_ramp": True, "detector": Sequential(), "closing": Sequential(), "break_growth": 2.0}
    traits: ClassVar = {"ramps": True, "scores": True, "tests": True, "growth": 2.0}


RecommendedBreakerAgainstModel.TestCase.settings = settings(stateful_step_count=40, deadline=None)
TestRecommendedBreakerAgainstModel = RecommendedBreakerAgainstModel.TestCase


class MixedBreakerAgainstModel(BreakerAgainstModel):
    """The same histories with the rules mixed: failures in a row, several probes, a ramp, breaks that grow."""

    extra: ClassVar = {"half_open_max_calls": 2, "probe_ramp": True, "break_growth": 3.0}
    traits: ClassVar = {"probes": 2, "ramps": True, "growth": 3.0}


MixedBreakerAgainstModel.TestCase.settings = settings(stateful_step_count=40, deadline=None)
TestMixedBreakerAgainstModel = MixedBreakerAgainstModel.TestCase


# Up to four callers, each of which asks once and tells once, in every order that differs by more than their names;
# and at every place in that order, something else: a break passes, or somebody closes the breaker by hand.


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


def interrupted(order, interruptions):
    """That order alone, and with each interruption at each place between two steps."""
    yield order
    for what, place in itertools.product(interruptions, range(1, len(order))):
        yield (*order[:place], (what, None), *order[place:])


def fail_twice(breaker, model, clock):
    for _ in range(2):
        breaker.admit().release(Outcome.TRANSIENT)
        model.settle(model.epoch, Outcome.TRANSIENT, 0.0)


def open_and_wait(breaker, model, clock):
    breaker.open()
    model.open(clock.monotonic())
    clock.advance(BREAK)


STARTS = {"closed": lambda breaker, model, clock: None, "nearly open": fail_twice, "break is over": open_and_wait}
RULES = {
    "document": ({}, {}),
    "ramp and test": ({"probe_ramp": True, "closing": Sequential()}, {"ramps": True, "tests": True}),
}


# Four callers have so many orders that a busy machine needs minutes.
@pytest.mark.timeout(300)
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("callers", [1, 2, 3, 4])
def test_every_interleaving_of_a_few_callers_ends_as_the_model_does(start, rules, callers):
    extra, traits = RULES[rules]
    config = config_of(**extra)
    kinds = [Outcome.SUCCESS, Outcome.TRANSIENT, Outcome.NEUTRAL]
    interruptions = ("wait", "close")
    if callers == 4:
        # Four callers are interrupted where time matters most, which is when they probe and their probes ramp.
        interruptions = ("wait",) if start == "break is over" and rules == "ramp and test" else ()
    for whole in orders(callers):
        for order in interrupted(whole, interruptions):
            for ends in itertools.product(kinds, repeat=callers):
                clock, model = FakeClock(), Model(**traits)
                breaker = CircuitBreaker("b", config, clock=clock)
                STARTS[start](breaker, model, clock)
                play(order, ends, breaker, model, clock)


def play(order, ends, breaker, model, clock):
    held, was_lost = {}, False
    for step, number in order:
        now = clock.monotonic()
        if step == "wait":
            clock.advance(BREAK)
            was_lost = was_lost or bool(held)
        elif step == "close":
            breaker.close()
            model.move("closed")
        elif step == "ask":
            expected = model.admit(now)
            try:
                held[number] = (breaker.admit(), model.epoch)
            except BreakerOpenError:
                assert not expected
            else:
                assert expected
        elif number in held:
            tell(*held.pop(number), ends[number], breaker, model, now)
        probes = sum(permit.is_probe and permit.generation == breaker.generation for permit, _ in held.values())
        assert (breaker.state.value, breaker.generation) == (model.state, model.epoch)
        assert breaker._probes.under_way == model.probes == probes
        # One more than the ramp only when a probe has not answered for a whole break.
        assert probes <= model.allowed() + was_lost
    assert not held
    assert breaker._probes.under_way == 0


def tell(permit, epoch, outcome, breaker, model, now):
    before = (breaker.state, breaker.generation, breaker._counts.stale)
    is_late = permit.generation != breaker.generation
    permit.release(outcome)
    model.settle(epoch, outcome, now)
    if is_late:
        assert (breaker.state, breaker.generation, breaker._counts.stale) == (*before[:2], before[2] + 1)
    assert not permit.is_held
    after = (breaker.generation, breaker._probes.under_way, breaker._counts.stale)
    permit.release(Outcome.TRANSIENT)
    assert (breaker.generation, breaker._probes.under_way, breaker._counts.stale) == after
