"""Fates: seeded, independent of the order of arrival, scriptable."""

from __future__ import annotations

import statistics

import pytest

from omninode.core.errors import InvalidArgumentError
from omninode.simulation.fate import Fates
from omninode.simulation.faults import FaultBook
from omninode.simulation.profile import Faults, Latency, ModelProfile

pytestmark = pytest.mark.unit


def fates(*, seed: int = 1, scale: float = 1.0, faults: Faults | None = None, latency: Latency | None = None) -> Fates:
    profile = ModelProfile(name="m", latency=latency or Latency(), faults=faults or Faults())
    return Fates([profile], book=FaultBook({"m": profile.faults}), seed=seed, latency_scale=scale)


def drawn(source: Fates, bodies: list[bytes]) -> dict[bytes, tuple[float, str]]:
    found = {}
    for body in bodies:
        fate = source.draw("m", body, is_repeatable=True)
        found[body] = (fate.latency_s, fate.fault.kind)
    return found


BODIES = [str(number).encode() for number in range(50)]


def test_the_same_seed_gives_the_same_fates_in_any_order():
    faults = Faults(error_rate=0.3, throttle_rate=0.2)
    forth, back = drawn(fates(faults=faults), BODIES), drawn(fates(faults=faults), BODIES[::-1])
    assert forth == back
    assert {kind for _, kind in forth.values()} == {"ok", "error", "throttle"}
    assert drawn(fates(seed=2, faults=faults), BODIES) != forth


def test_a_repeated_request_is_drawn_anew_but_its_answer_repeats():
    source = fates()
    first, second = (source.draw("m", b"x", is_repeatable=True) for _ in range(2))
    assert first.latency_s != second.latency_s
    assert first.noise.random() == second.noise.random()
    warm = [source.draw("m", b"x", is_repeatable=False).noise.random() for _ in range(2)]
    assert warm[0] != warm[1]


def test_latency_is_lognormal_around_its_median_and_scales():
    bodies = [str(number).encode() for number in range(2000)]
    latency = Latency(median_s=0.5, sigma=0.5)
    found = [seconds for seconds, _ in drawn(fates(latency=latency), bodies).values()]
    assert statistics.median(found) == pytest.approx(0.5, rel=0.05)
    # For a lognormal the mean is exp(sigma^2 / 2) times the median.
    assert statistics.mean(found) == pytest.approx(0.5 * 1.133, rel=0.05)
    assert all(seconds == 0 for seconds, _ in drawn(fates(latency=latency, scale=0), bodies[:20]).values())


def test_rates_are_shares_of_the_calls():
    bodies = [str(number).encode() for number in range(2000)]
    kinds = [kind for _, kind in drawn(fates(faults=Faults(error_rate=0.2, cut_rate=0.1)), bodies).values()]
    assert kinds.count("error") / 2000 == pytest.approx(0.2, abs=0.03)
    assert kinds.count("cut") / 2000 == pytest.approx(0.1, abs=0.03)


def test_a_script_comes_first_and_does_not_shift_later_draws():
    faults = Faults(error_rate=0.5)
    book = FaultBook({"m": faults})
    scripted = Fates([ModelProfile(name="m", faults=faults)], book=book, seed=1, latency_scale=1.0)
    book.script("m", ["hang", "ok"])
    plain, told = drawn(fates(faults=faults), BODIES), drawn(scripted, BODIES)
    assert [told[body][1] for body in BODIES[:2]] == ["hang", "ok"]
    assert [told[body] for body in BODIES[2:]] == [plain[body] for body in BODIES[2:]]
    assert book.waiting("m") == ()


def test_a_slow_start_delays_the_first_calls_only():
    source = fates(scale=0, faults=Faults(slow_start_s=3.0, slow_start_calls=2))
    assert [source.draw("m", body, is_repeatable=True).latency_s for body in BODIES[:4]] == [3.0, 3.0, 0.0, 0.0]


def test_clearing_restores_the_profile():
    book = FaultBook({"m": Faults(error_rate=0.1)})
    book.set("m", Faults(hang_rate=1.0))
    book.script("m", ["cut"])
    book.clear()
    assert book.of("m") == Faults(error_rate=0.1)
    assert book.waiting("m") == ()


@pytest.mark.parametrize(
    "build",
    [
        lambda: Faults(error_rate=1.1),
        lambda: Faults(error_rate=0.6, hang_rate=0.6),
        lambda: Faults(error_status=200),
        lambda: Faults(retry_after_s=-1),
        lambda: Latency(median_s=-1),
        lambda: Latency(sigma=float("nan")),
        lambda: ModelProfile(name="m", quality=2),
        lambda: ModelProfile(name=""),
        lambda: ModelProfile(name="m", weight=0),
        lambda: FaultBook({"m": Faults()}).script("m", ["explode"]),
        lambda: FaultBook({"m": Faults()}).set("other", Faults()),
    ],
)
def test_what_is_out_of_range_is_refused(build):
    with pytest.raises(InvalidArgumentError):
        build()
