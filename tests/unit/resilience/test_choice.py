"""One of several targets that can stand in for each other."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from omninode.core.errors import (
    BreakerOpenError,
    DeadlineExceededError,
    InvalidArgumentError,
    ProviderUnavailableError,
    RequestRejectedError,
)
from omninode.core.events import MetricRecorded
from omninode.resilience import (
    BudgetConfig,
    BulkheadConfig,
    Choice,
    CircuitBreakerConfig,
    CircuitState,
    Hedge,
    Policy,
    RetryConfig,
    Target,
)
from omninode.testing.virtual_time import run_virtual

pytestmark = pytest.mark.unit


class World:
    """Targets called by address: each answers after its seconds, or fails as scripted; `asked` says who was called."""

    def __init__(self, **ends):
        self.ends, self.asked, self.cancelled = ends, [], []

    async def __call__(self, address, word="done"):
        self.asked.append(address)
        end = self.ends[address]
        if isinstance(end, Exception):
            raise type(end)(str(end)) if type(end) is ConnectionError else end
        try:
            await asyncio.sleep(end)
        except asyncio.CancelledError:
            self.cancelled.append(address)
            raise
        return f"{word} by {address}"


DOWN = ConnectionError("down")


def three(**parts):
    return Choice("c", [Target(name, value=name) for name in ("a", "b", "c")], seed=1, **parts)


def test_the_function_gets_the_value_of_the_target_and_the_arguments():
    async def main(clock):
        choice = Choice("c", [Target("eu", value="https://eu")], clock=clock)
        return await choice.call(World(**{"https://eu": 0.1}), word="kept")

    assert run_virtual(main) == "kept by https://eu"


def test_a_slow_target_gets_few_of_the_calls():
    async def main(clock):
        world = World(a=0.1, b=0.1, c=1.0)
        choice = three(clock=clock)
        for _ in range(100):
            await choice.call(world)
        return Counter(world.asked)

    counted = run_virtual(main)
    assert counted["c"] <= 5
    assert min(counted["a"], counted["b"]) >= 25


def test_one_that_fails_fast_does_not_look_fast():
    async def main(clock):
        world = World(a=DOWN, b=0.1)
        choice = Choice(
            "c", [Target(name, value=name, policy=Policy(name, clock=clock)) for name in "ab"], clock=clock, seed=1
        )
        for _ in range(50):
            await choice.call(world)
        return world.asked.count("a")

    assert run_virtual(main) <= 3


def test_one_that_fails_is_followed_by_another_at_once_without_budget_or_wait():
    async def main(clock):
        world = World(a=DOWN, b=DOWN, c=0.0)
        outer = Policy("c", retry=RetryConfig(max_retries=3, budget=BudgetConfig(start=0.0)), clock=clock)
        choice = three(policy=outer, clock=clock)
        began = clock.monotonic()
        answers = [await choice.call(world) for _ in range(200)]
        return answers, clock.monotonic() - began, world, choice.statistics()

    answers, took_s, world, statistics = run_virtual(main)
    assert set(answers) == {"done by c"}
    assert took_s == 0.0
    assert (statistics.policy.calls, statistics.policy.retry.retries) == (200, 0)
    assert statistics.failovers == len(world.asked) - 200 > 0
    # The balancer and the breakers leave those alone that fail.
    assert world.asked.count("c") == 200
    assert len(world.asked) < 240


def test_when_all_fail_the_policy_around_tries_all_again_and_pays_for_it():
    async def main(clock):
        world = World(a=DOWN, b=DOWN, c=DOWN)
        outer = Policy("c", retry=RetryConfig(max_retries=1, base_delay=1.0, jitter=False), clock=clock)
        choice = three(policy=outer, clock=clock)
        outcome = await choice.outcome(world)
        return world, outcome

    world, outcome = run_virtual(main)
    assert sorted(world.asked) == ["a", "a", "b", "b", "c", "c"]
    assert (outcome.attempts, outcome.waits_s) == (2, (1.0,))
    assert isinstance(outcome.error, ConnectionError)
    assert any("c has no answer: " in note and "a: ConnectionError" in note for note in outcome.error.__notes__)


def test_what_is_wrong_in_itself_is_asked_of_nobody_else():
    async def main(clock):
        world = World(**dict.fromkeys("abc", RequestRejectedError("bad", status=400)))
        with pytest.raises(RequestRejectedError):
            await three(clock=clock).call(world)
        return world.asked

    assert len(run_virtual(main)) == 1


def test_one_that_stands_by_is_asked_only_after_the_others():
    async def main(clock):
        targets = [Target("a", value="a"), Target("b", value="b", weight=0.0)]
        choice = Choice("c", targets, clock=clock)
        world = World(a=0.1, b=0.1)
        for _ in range(20):
            await choice.call(world)
        world.ends["a"] = DOWN
        await choice.call(world)
        return world.asked

    asked = run_virtual(main)
    assert asked == ["a"] * 21 + ["b"]


def test_one_whose_breaker_is_open_is_left_out_and_asked_again_after_its_break():
    async def main(clock):
        config = CircuitBreakerConfig(failure_threshold=1, timeout_seconds=5.0, success_threshold=1)
        policies = {name: Policy(name, breaker=config, clock=clock) for name in "ab"}
        choice = Choice("c", [Target(name, value=name, policy=policies[name]) for name in "ab"], clock=clock, seed=3)
        world = World(a=DOWN, b=DOWN)
        with pytest.raises(ConnectionError):
            await choice.call(world)
        with pytest.raises(BreakerOpenError) as caught:
            await choice.call(world)
        refused = caught.value.retry_after_s, len(world.asked)
        world.ends |= {"a": 0.0, "b": 0.0}
        await clock.sleep(6.0)
        for _ in range(50):
            await choice.call(world)
        return refused, [policy.breaker.state for policy in policies.values()]

    (wait_s, asked), states = run_virtual(main)
    assert 4.0 < wait_s <= 5.0
    assert asked == 2
    assert CircuitState.CLOSED in states


def test_a_full_target_is_passed_over():
    async def main(clock):
        full = Policy("a", bulkhead=BulkheadConfig(max_concurrent=1, max_queue=0), clock=clock)
        choice = Choice("c", [Target("a", value="a", policy=full), Target("b", value="b", weight=0.0)], clock=clock)
        world = World(a=1.0, b=0.0)
        return await asyncio.gather(choice.call(world), choice.call(world))

    assert run_virtual(main) == ["done by a", "done by b"]


def test_one_that_hangs_uses_up_half_of_the_time_and_the_next_answers():
    async def main(clock):
        outer = Policy("c", deadline_s=10.0, clock=clock)
        choice = Choice("c", [Target("a", value="a"), Target("b", value="b", weight=0.0)], policy=outer, clock=clock)
        began = clock.monotonic()
        answer = await choice.call(World(a=3600.0, b=0.0))
        return answer, clock.monotonic() - began

    answer, took_s = run_virtual(main)
    assert (answer, took_s) == ("done by b", pytest.approx(5.0, abs=0.1))


def test_the_deadline_ends_it_whoever_is_left():
    async def main(clock):
        outer = Policy("c", deadline_s=4.0, clock=clock)
        began = clock.monotonic()
        with pytest.raises(DeadlineExceededError):
            await three(policy=outer, clock=clock).call(World(a=3600.0, b=3600.0, c=3600.0))
        return clock.monotonic() - began

    assert run_virtual(main) == pytest.approx(4.0, abs=0.05)


def test_a_hedge_asks_another_target_and_the_one_that_was_beaten_is_seen_as_slow():
    async def main(clock):
        outer = Policy("c", hedge=Hedge(min_samples=10), clock=clock)
        choice = Choice("c", [Target(name, value=name) for name in "ab"], policy=outer, clock=clock, seed=1)
        world = World(a=0.1, b=0.1)
        for _ in range(20):
            await choice.call(world)
        world.asked.clear()
        world.ends["a"] = 3600.0
        for _ in range(20):
            assert await choice.call(world) == "done by b"
        return world, choice.statistics()

    world, statistics = run_virtual(main)
    assert world.asked[:2].count("a") <= 1
    assert 1 <= world.asked.count("a") <= 2
    assert world.cancelled == ["a"] * world.asked.count("a")
    assert statistics.policy.hedge.won == world.asked.count("a")
    assert {target.in_flight for target in statistics.targets} == {0}


def test_a_hedge_asks_another_target_even_where_the_first_looks_better():
    async def main(clock):
        outer = Policy("c", hedge=Hedge(min_samples=10), clock=clock)
        choice = Choice("c", [Target(name, value=name) for name in "ab"], policy=outer, clock=clock, seed=1)
        world = World(a=0.001, b=1.0)
        for _ in range(20):
            await choice.call(world)
        world.asked.clear()
        world.ends["a"] = 3600.0
        await choice.call(world)
        return world.asked

    assert run_virtual(main) == ["a", "b"]


async def test_a_cancelled_call_leaves_nothing_under_way(clock):
    choice = three(clock=clock)
    task = asyncio.ensure_future(choice.call(World(a=60.0, b=60.0, c=60.0)))
    for _ in range(3):
        await asyncio.sleep(0)
    assert sum(target.in_flight for target in choice.statistics().targets) == 1
    task.cancel()
    await asyncio.wait([task])
    statistics = choice.statistics()
    assert (task.cancelled(), statistics.policy.cancelled) == (True, 1)
    assert {target.in_flight for target in statistics.targets} == {0}
    assert {target.latency_ms for target in statistics.targets} == {None}


def test_the_targets_own_retries_are_made_when_nobody_around_retries():
    async def main(clock):
        own = Policy("a", retry=RetryConfig(max_retries=2, base_delay=0.0), clock=clock)
        choice = Choice("c", [Target("a", value="a", policy=own)], clock=clock)
        world = World(a=ProviderUnavailableError("away"))
        with pytest.raises(ProviderUnavailableError):
            await choice.call(world)
        return world.asked

    assert run_virtual(main) == ["a", "a", "a"]


def test_going_on_to_another_is_told_once_per_spell(sink):
    async def main(clock):
        targets = [Target("a", value="a", policy=Policy("a", clock=clock)), Target("b", value="b", weight=0.0)]
        choice = Choice("c", targets, clock=clock, sink=sink)
        world = World(a=DOWN, b=0.0)
        for _ in range(10):
            await choice.call(world)
        world.ends["a"] = 2.0
        await choice.call(world)

    run_virtual(main)
    told = [event for event in sink.of(MetricRecorded) if event.metric == "failover_count"]
    assert [(event.labels["stage"], event.value) for event in told] == [("began", 1.0), ("ended", 9.0)]


def test_a_choice_explains_its_targets():
    choice = Choice("c", [Target("a", value=1), Target("b", value=2, weight=0.0)])
    lines = choice.explain().splitlines()
    assert lines[0] == "c"
    assert "  a (weight 1)" in lines
    assert "  b (stands by)" in lines
    assert any(line.startswith("    ") and "breaker: 'b' is closed" in line for line in lines)


def test_targets_that_share_what_is_to_be_their_own_are_refused():
    policy = Policy("p")
    for targets in (
        [],
        [Target("a", value=1), Target("a", value=2)],
        [Target("a", value=1, policy=policy), Target("b", value=2, policy=policy)],
    ):
        with pytest.raises(InvalidArgumentError, match="of its own"):
            Choice("c", targets)
    with pytest.raises(InvalidArgumentError, match="of its own"):
        Choice("c", [Target("a", value=1, policy=policy)], policy=policy)
    for wrong in ("eu", policy, Target):
        with pytest.raises(InvalidArgumentError, match="target"):
            Choice("c", [wrong])
    with pytest.raises(InvalidArgumentError, match="policy"):
        Target("a", value=1, policy=CircuitBreakerConfig())
    with pytest.raises(InvalidArgumentError, match="weight"):
        Target("a", value=1, weight=-1.0)


@pytest.mark.parametrize("trouble", ["hang", "error"])
@pytest.mark.parametrize("seed", [11, 12])
def test_with_a_healthy_alternate_no_caller_sees_an_outage(trouble, seed):
    """Two targets, 50 calls a second; one is down for a minute after the first ten seconds."""

    async def main(clock):
        rng, began = random.Random(seed), clock.monotonic()
        took: dict[bool, list[float]] = {False: [], True: []}
        failed = []

        def is_outage():
            return 10.0 <= clock.monotonic() - began < 70.0

        async def fetch(address):
            if address == "a" and is_outage():
                await asyncio.sleep(3600.0 if trouble == "hang" else 0.02)
                raise ConnectionError("down")
            await asyncio.sleep(rng.lognormvariate(-2.5, 0.5))

        async def one(choice):
            in_outage, start = is_outage(), clock.monotonic()
            outcome = await choice.outcome(fetch)
            took[in_outage].append(clock.monotonic() - start)
            failed.extend([outcome.error] if outcome.error else [])

        outer = Policy("c", deadline_s=15.0, retry=RetryConfig(), hedge=Hedge(), clock=clock)
        choice = Choice("c", [Target(name, value=name) for name in "ab"], policy=outer, clock=clock, seed=seed)
        async with asyncio.TaskGroup() as calls:
            while clock.monotonic() - began < 75.0:
                calls.create_task(one(choice))
                await asyncio.sleep(rng.expovariate(50.0))
        return failed, [sorted(times)[int(0.99 * len(times))] for times in took.values()]

    failed, (healthy_s, outage_s) = run_virtual(main)
    assert failed == []
    assert outage_s <= 2 * healthy_s
