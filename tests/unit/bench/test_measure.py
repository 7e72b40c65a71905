"""Taking turns, stopping in time, and what is made of the times; on a clock of the test's own."""

from __future__ import annotations

import pytest

from omninode.bench.measure import Rounds, Spread, interleave
from omninode.core.errors import InvalidArgumentError
from omninode.testing.clock import FakeClock

pytestmark = pytest.mark.unit


class Bench:
    """Arms that take a given time on a fake clock and write down that they ran."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.ran: list[str] = []

    def arm(self, name: str, *seconds: float):
        waits = list(seconds)

        async def run() -> None:
            self.ran.append(name)
            self.clock.advance(waits.pop(0) if len(waits) > 1 else waits[0])

        return run


async def test_each_round_begins_with_the_next_arm() -> None:
    bench = Bench()
    arms = {name: bench.arm(name, 1.0) for name in "ab"}
    await interleave(arms, rounds=3, budget_s=100, warm_up=0, clock=bench.clock)
    assert "".join(bench.ran) == "abbaab"


async def test_warm_up_is_run_and_not_counted() -> None:
    bench = Bench()
    rounds = await interleave({"a": bench.arm("a", 50.0, 2.0)}, rounds=3, budget_s=1000, warm_up=1, clock=bench.clock)
    assert bench.ran == ["a"] * 4
    assert rounds.times["a"] == (2.0, 2.0, 2.0)


async def test_no_round_begins_after_the_budget_and_the_first_always_does() -> None:
    bench = Bench()
    rounds = await interleave(
        {"a": bench.arm("a", 4.0), "b": bench.arm("b", 1.0)}, rounds=50, budget_s=11, warm_up=0, clock=bench.clock
    )
    assert rounds.count == 3
    slow = await interleave({"a": bench.arm("a", 9.0)}, rounds=5, budget_s=1, warm_up=3, clock=bench.clock)
    assert slow.times["a"] == (9.0,)


async def test_an_arm_that_times_itself_is_believed() -> None:
    bench = Bench()

    async def own() -> float:
        bench.clock.advance(100)
        return 0.25

    rounds = await interleave({"own": own}, rounds=2, budget_s=1000, clock=bench.clock)
    assert rounds.times["own"] == (0.25, 0.25)


async def test_the_error_of_an_arm_ends_the_measuring() -> None:
    async def broken() -> None:
        raise RuntimeError("the arms do not do the same")

    with pytest.raises(RuntimeError, match="do not do the same"):
        await interleave({"a": broken}, rounds=2, budget_s=1)


async def test_nothing_to_run_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="at least one round"):
        await interleave({}, rounds=1, budget_s=1)


def test_a_ratio_is_taken_round_by_round() -> None:
    # The machine was ten times slower in the second round: no time agrees, each ratio does.
    rounds = Rounds(times={"a": (2.0, 20.0, 2.0), "b": (1.0, 10.0, 1.0)})
    assert rounds.ratio("a", "b") == Spread(median=2.0, low=2.0, high=2.0, count=3)
    assert rounds.spread("a", scale=1000).high == 20_000


def test_the_median_of_an_even_number_lies_between() -> None:
    assert Spread.of([4.0, 1.0, 3.0, 2.0]) == Spread(median=2.5, low=1.0, high=4.0, count=4)


@pytest.mark.parametrize("values", [[], [1.0, float("nan")]])
def test_no_spread_of_nothing(values: list[float]) -> None:
    with pytest.raises(InvalidArgumentError, match="measure at least one"):
        Spread.of(values)


def test_an_unknown_arm_is_named() -> None:
    with pytest.raises(InvalidArgumentError, match="no arm 'c'; there are a"):
        Rounds(times={"a": (1.0,)}).spread("c")
