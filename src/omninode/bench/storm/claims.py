"""What the trials say about the claims, each as a figure against its gate."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

from omninode.bench.intervals import median_interval
from omninode.bench.measure import Spread
from omninode.bench.scenario import Figure, Table, Target, at_least, at_most
from omninode.bench.storm.arms import ARMS, NONE, SHIPPED
from omninode.bench.storm.trial import Tally
from omninode.bench.storm.troubles import Trouble

__all__ = ["Tallies", "bad_cut", "failed_cut", "figures", "points_added", "table"]


class Tallies:
    """The tallies of all trials, by trouble and arm, in the order of their seeds; `ours` is the arm that is judged."""

    def __init__(self, tallies: Sequence[Tally], *, ours: str = SHIPPED) -> None:
        self._ours = ours
        self._by: dict[tuple[str, str], list[Tally]] = {}
        for tally in sorted(tallies, key=lambda tally: tally.seed):
            self._by.setdefault((tally.trouble, tally.arm), []).append(tally)

    def of(self, trouble: str, arm: str) -> Sequence[Tally]:
        """Those of one trouble and arm; empty when it was not tried."""
        return self._by.get((trouble, arm), [])

    def has(self, trouble: str) -> bool:
        """Whether our arm and the one without a policy were both put through `trouble`."""
        return bool(self.ours(trouble) and self.of(trouble, NONE))

    def ours(self, trouble: str) -> Sequence[Tally]:
        """Those of our arm."""
        return self.of(trouble, self._ours)

    def paired(self, trouble: str, worth: Callable[[Tally, Tally], float]) -> list[float]:
        """`worth(ours, none)` for each seed."""
        return [worth(ours, bare) for ours, bare in zip(self.ours(trouble), self.of(trouble, NONE), strict=True)]


def figures(tallies: Tallies, troubles: Sequence[Trouble]) -> list[Figure]:
    """The figures that `tallies` are enough for."""
    found: list[Figure] = []
    for name, groups in (("A1", _wasted), ("A3", _alternate), ("B", _transient)):
        found.extend(groups(tallies, name))
        if name == "A1":
            found.extend(_harm(tallies, troubles))
    return found


def table(tallies: Tallies, troubles: Sequence[Trouble]) -> Table:
    """Per trouble and arm: what users saw fail (median and worst seed), bad attempts, attempts per call, p99."""
    rows = []
    for trouble in troubles:
        for arm in ARMS:
            found = tallies.of(trouble.name, arm)
            if found:
                rows.append((trouble.name if arm == ARMS[0] else "", arm, *_cells(found)))
    headings = ("trouble", "arm", "failed %", "95%", "worst", "bad attempts", "attempts/call", "p99 s", "seeds")
    return Table(headings=headings, rows=rows)


def _cells(found: Sequence[Tally]) -> tuple[str, ...]:
    shares = [tally.failed_share for tally in found]
    low, high = median_interval(shares)
    return (
        f"{statistics.median(shares):.2f}",
        f"{low:.2f} .. {high:.2f}",
        f"{max(shares):.2f}",
        f"{statistics.median(tally.bad for tally in found):,.0f}",
        f"{statistics.median(tally.amplification for tally in found):.2f}",
        f"{statistics.median(tally.p99_s for tally in found):.2f}",
        str(len(found)),
    )


def _figure(
    name: str, values: Sequence[float], unit: str, target: Target | None = None, *, takes_worst: bool = False
) -> Figure:
    return Figure(
        name=name,
        spread=Spread.of(values),
        unit=unit,
        target=target,
        takes_worst=takes_worst,
        interval=median_interval(values),
    )


def _wasted(tallies: Tallies, claim: str) -> list[Figure]:
    return [
        _figure(f"{claim} wasted attempts cut, {name}", tallies.paired(name, bad_cut), "%", at_least(95))
        for name in ("outage 60 s", "hang 60 s")
        if tallies.has(name)
    ]


def bad_cut(ours: Tally, bare: Tally) -> float:
    """The share of wasted attempts that were spared, in percent."""
    return 100.0 * (1 - ours.bad / max(1, bare.bad))


def points_added(ours: Tally, bare: Tally) -> float:
    """Points of percent of all calls that fail more than without a policy; below zero fewer fail."""
    return ours.failed_share - bare.failed_share


def failed_cut(ours: Tally, bare: Tally) -> float:
    """The share of failures that users were spared, in percent."""
    return 100.0 * (1 - ours.failed / max(1, bare.failed))


def _harm(tallies: Tallies, troubles: Sequence[Trouble]) -> list[Figure]:
    found = []
    for trouble in troubles:
        if tallies.has(trouble.name):
            points = tallies.paired(trouble.name, points_added)
            target = at_most(2) if trouble.is_claimed else None
            found.append(_figure(f"A2 failures added, {trouble.name}", points, "pts", target, takes_worst=True))
    return found


def _alternate(tallies: Tallies, claim: str) -> list[Figure]:
    found = []
    for name in ("outage, 2 backends", "hang, 2 backends"):
        if tallies.has(name):
            cut = tallies.paired(name, failed_cut)
            found.append(_figure(f"{claim} user failures cut, {name}", cut, "%", at_least(99)))
    if tallies.has("hang, 2 backends"):
        found_ours = tallies.ours("hang, 2 backends")
        ratios = [tally.window_p99_s / tally.before_p99_s for tally in found_ours if tally.before_p99_s]
        found.append(_figure(f"{claim} p99 while one hangs / before", ratios, "x", at_most(2)))
    if tallies.has("1 of 3 slow"):
        ratios = tallies.paired("1 of 3 slow", lambda ours, bare: ours.p99_s / bare.p99_s)
        found.append(_figure(f"{claim} p99 with 1 of 3 slow / in turn", ratios, "x"))
    return found


_SUCCESS: Mapping[str, float] = {"permanent 20%": 99.9, "permanent 30%": 99.0, "permanent 50%": 90.0}
_COST: Mapping[str, float] = {"permanent 20%": 1.5, "permanent 30%": 1.5, "outage 60 s": 1.1}


def _transient(tallies: Tallies, claim: str) -> list[Figure]:
    found = [
        _figure(f"{claim} success, {name}", _success(tallies.ours(name)), "%", at_least(bound))
        for name, bound in _SUCCESS.items()
        if tallies.has(name)
    ]
    for name in ("bursts 0.5 s", "bursts 2 s", "bursts 5 s"):
        if tallies.has(name):
            saved = [100.0 * (1 - tally.savable_failed / max(1, tally.savable)) for tally in tallies.ours(name)]
            found.append(_figure(f"{claim} savable calls saved, {name}", saved, "%", at_least(96), takes_worst=True))
    found += [
        _figure(
            f"{claim} attempts per call, {name}",
            [tally.amplification for tally in tallies.ours(name)],
            "x",
            at_most(bound),
        )
        for name, bound in _COST.items()
        if tallies.has(name)
    ]
    if tallies.has("outage 8 s"):
        failed = [tally.failed_share for tally in tallies.ours("outage 8 s")]
        found.append(_figure(f"{claim} failed, outage 8 s", failed, "%", at_most(0.5)))
    if tallies.has("overload"):
        back = [tally.back_after_s for tally in tallies.ours("overload")]
        found.append(_figure(f"{claim} back at 99% after the overload", back, "s", at_most(5), takes_worst=True))
    return found


def _success(tallies: Sequence[Tally]) -> list[float]:
    return [100.0 - tally.failed_share for tally in tallies]
