"""Steps are found where they are, and noise is left alone, even when it remembers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omninode.analytics.changepoints import changepoints
from omninode.core.errors import InvalidArgumentError

pytestmark = pytest.mark.unit


def noisy(seed: int, *, count: int = 240, memory: float = 0.0, daily: bool = False, step: float = 0.0, at: int = 120):
    """A latency series around 100: 8 % noise (AR(1) with `memory`), maybe a daily cycle and a step at `at`."""
    random = np.random.default_rng(seed)
    noise = random.normal(0, 0.08 * np.sqrt(1 - memory**2), count)
    for index in range(1, count):
        noise[index] += memory * noise[index - 1]
    level = np.log(100) + noise
    if daily:
        level += 0.3 * np.sin(np.arange(count) * 2 * np.pi / 24)
    level[at:] += np.log1p(step)
    return np.exp(level).tolist()


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.7, 0.9])
def test_noise_that_remembers_raises_hardly_any_alarm(memory):
    alarms = sum(bool(changepoints(noisy(seed, memory=memory))) for seed in range(100))
    assert alarms <= 2


@pytest.mark.parametrize(("memory", "step"), [(0.0, 0.1), (0.5, 0.2), (0.7, 0.5)])
def test_a_step_is_found_near_its_place_with_its_size(memory, step):
    found = [changepoints(noisy(seed, memory=memory, step=step)) for seed in range(20)]
    assert sum(len(changes) >= 1 for changes in found) >= 19
    firsts = [changes[0] for changes in found if len(changes) == 1]
    assert np.median([abs(change.index - 120) for change in firsts]) <= 3
    assert np.median([change.shift for change in firsts]) == pytest.approx(step, rel=0.3)


def test_a_daily_cycle_is_no_change_and_hides_none():
    assert sum(bool(changepoints(noisy(seed, daily=True), season=24)) for seed in range(40)) <= 1
    found = [changepoints(noisy(seed, daily=True, step=0.3), season=24) for seed in range(20)]
    assert all(changes and abs(changes[0].index - 120) <= 12 for changes in found)


def test_single_spikes_are_harmless():
    series = noisy(1)
    for place in (30, 90, 200):
        series[place] *= 20
    assert changepoints(series) == ()


def test_several_steps_come_in_their_order():
    series = [10.0 + i % 3 for i in range(40)] + [30.0 + i % 3 for i in range(40)] + [5.0 + i % 2 for i in range(40)]
    first, second = changepoints(series)
    assert (first.index, second.index) == (40, 80)
    assert first.after == pytest.approx(second.before)
    assert first.shift > 0 > second.shift


def test_gaps_keep_their_places():
    series: list[float | None] = [10.0 + i % 3 for i in range(60)] + [20.0 + i % 3 for i in range(60)]
    series[10:30] = [None] * 20
    (change,) = changepoints(series)
    assert change.index == 60


@given(st.lists(st.none() | st.floats(0, 1e9), max_size=80))
def test_any_series_is_answered(values):
    changes = changepoints(values, season=24)
    assert all(0 < change.index < len(values) for change in changes)


def test_constant_short_and_impossible_series():
    assert changepoints([5.0] * 100) == ()
    assert changepoints([0.0] * 100) == ()
    assert changepoints([1.0] * 11 + [9.0] * 11) == ()
    with pytest.raises(InvalidArgumentError, match="below zero"):
        changepoints([-1.0] * 30)
    with pytest.raises(InvalidArgumentError, match="wider buckets"):
        changepoints([1.0] * 5_001)
