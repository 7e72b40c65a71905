"""Which deployment first: the better of two drawn at random, by how slow and how busy they are.

Choosing the best of all from records that are always a little late sends everyone to the same place at once; the
better of two random ones does not (power of two choices). The record is a peak-EWMA: it jumps up to a slow answer at
once and comes down slowly, with a time constant of `tau_s`. A failure enters as a slow answer, else the deployment
that fails fastest would look best. Reference: Finagle's `PeakEwma`; Mitzenmacher, "The Power of Two Choices".
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from omninode.core.clock import Clock, SystemClock

__all__ = ["Balancer", "Candidate", "LoadStatistics", "Trip"]

_START_S = 1.0
_IDLE_TAUS = 3.0
_PATIENCE = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Something to choose; of weight 2 it takes twice the load of weight 1, of weight 0 it comes last."""

    name: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadStatistics:
    """What is known about one candidate; `latency_ms` is its peak-EWMA, None before the first answer."""

    name: str
    in_flight: int
    latency_ms: float | None


class Trip:
    """One call under way; what it says is for the caller to set.

    `was_beaten` says of a call that is cancelled that another attempt was faster, so that the time it had is learned.
    """

    __slots__ = ("has_failed", "was_beaten")

    def __init__(self) -> None:
        self.has_failed = False
        self.was_beaten = False


class _Load:
    __slots__ = ("at", "ewma_s", "in_flight")

    def __init__(self) -> None:
        self.in_flight = 0
        self.ewma_s: float | None = None
        self.at = 0.0


class Balancer:
    """Orders candidates by preference and learns from how they do.

    `penalty_s` is what a failure counts as when it came sooner. One record is kept per name ever seen, so names are to
    come from configuration, not from input.
    """

    def __init__(
        self, *, clock: Clock | None = None, seed: int | None = None, tau_s: float = 10.0, penalty_s: float = 1.0
    ) -> None:
        self._clock = clock or SystemClock()
        self._random = random.Random(seed)  # noqa: S311 - load balancing, not a secret
        self._tau_s = tau_s
        self._penalty_s = penalty_s
        self._loads: dict[str, _Load] = {}

    def order(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """`candidates` by preference: the winner of the draw, the others by score, those of weight 0 at the end."""
        scores = {entry.name: self.score(entry) for entry in candidates}
        active = sorted((entry for entry in candidates if entry.weight > 0), key=lambda entry: scores[entry.name])
        standby = sorted((entry for entry in candidates if entry.weight == 0), key=lambda entry: scores[entry.name])
        if len(active) > 1:
            drawn = self._random.sample(active, 2)
            # On equal scores the draw decides, or the first in the list would take every first call.
            winner = min(drawn, key=lambda entry: scores[entry.name])
            active.remove(winner)
            active.insert(0, winner)
        return active + standby

    def score(self, candidate: Candidate) -> float:
        """Expected wait, in seconds, scaled by weight; lower is better."""
        load = self._loads.get(candidate.name)
        in_flight = load.in_flight if load is not None else 0
        return self.latency_s(candidate.name) * (in_flight + 1) / (candidate.weight or 1.0)

    def latency_s(self, name: str) -> float:
        """The peak-EWMA, in seconds; the median of the others where nothing is known, and more so after a silence."""
        load = self._loads.get(name)
        if load is None or load.ewma_s is None:
            return self._median_of_others(name)
        idle = self._clock.monotonic() - load.at - _IDLE_TAUS * self._tau_s
        if idle <= 0 or load.in_flight:
            return load.ewma_s
        median = self._median_of_others(name)
        return median + (load.ewma_s - median) * math.exp(-idle / self._tau_s)

    @contextmanager
    def under_way(self, name: str) -> Iterator[Trip]:
        """Run one call to `name` in the body, counting it while it runs and learning from how it ends.

        The body sets `has_failed` on what it is given when the call failed. A body that raises without having set
        that or `was_beaten` teaches nothing: whoever cancels a call says nothing about who was called.
        """
        load = self._loads.setdefault(name, _Load())
        started = self._clock.monotonic()
        load.in_flight += 1
        trip = Trip()
        try:
            yield trip
            self._learn_end(load, trip, started)
        except BaseException:
            if trip.has_failed or trip.was_beaten:
                self._learn_end(load, trip, started)
            raise
        finally:
            load.in_flight -= 1

    def statistics(self) -> tuple[LoadStatistics, ...]:
        """What is known about each name seen so far."""
        return tuple(
            LoadStatistics(
                name=name,
                in_flight=load.in_flight,
                latency_ms=None if load.ewma_s is None else load.ewma_s * 1000,
            )
            for name, load in self._loads.items()
        )

    def share_s(self, name: str, remaining_s: float) -> float:
        """How much of `remaining_s` one candidate may use, so that the next still has a chance.

        Half of it, or three times its usual latency where that is longer.
        """
        return min(remaining_s, max(remaining_s / 2, _PATIENCE * self.latency_s(name)))

    def _learn_end(self, load: _Load, trip: Trip, started: float) -> None:
        took_s = self._clock.monotonic() - started
        self._learn(load, max(took_s, self._penalty_s) if trip.has_failed else took_s)

    def _learn(self, load: _Load, sample_s: float) -> None:
        now = self._clock.monotonic()
        if load.ewma_s is None or sample_s > load.ewma_s:
            load.ewma_s = sample_s
        else:
            keep = math.exp(-max(0.0, now - load.at) / self._tau_s)
            load.ewma_s = load.ewma_s * keep + sample_s * (1.0 - keep)
        load.at = now

    def _median_of_others(self, name: str) -> float:
        known = [load.ewma_s for other, load in self._loads.items() if other != name and load.ewma_s is not None]
        return statistics.median(known) if known else _START_S
