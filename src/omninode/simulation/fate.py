"""What becomes of each call, drawn from the seed: its latency, its fault, and the noise in its answer.

The draw depends on the seed, the model, the request's bytes and how often exactly this request came before, never on
the order in which different requests arrive. So a concurrent run is reproducible, and a retry of the same request may
fare better than the first try. The answer's noise leaves the repetition out: at temperature 0 a model repeats itself.
"""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from omninode.simulation.faults import Fault, FaultBook
from omninode.simulation.profile import ModelProfile

__all__ = ["Fate", "Fates", "SimulationStatistics"]

# Requests whose repetitions are counted; the oldest is forgotten first, which at worst repeats its draws.
_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What one call is given: `latency_s` to the whole answer (fault included), the fault, the answer's noise."""

    latency_s: float
    fault: Fault
    noise: Random
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationStatistics:
    """Calls per model, and how many of each kind of fate there were (`ok` included)."""

    calls: Mapping[str, int]
    fates: Mapping[str, int]


class Fates:
    """Draws fates and counts them. Lives on the simulator's loop."""

    def __init__(self, profiles: Sequence[ModelProfile], *, book: FaultBook, seed: int, latency_scale: float) -> None:
        self._profiles = {profile.name: profile for profile in profiles}
        self._book = book
        self._seed = seed
        self._latency_scale = latency_scale
        self._seen: OrderedDict[str, int] = OrderedDict()
        self._calls: Counter[str] = Counter()
        self._kinds: Counter[str] = Counter()

    def draw(self, model: str, body: bytes, *, is_repeatable: bool) -> Fate:
        """The fate of a call of `model` with this body; its noise repeats with the body when `is_repeatable`."""
        digest = hashlib.blake2b(f"{self._seed}|{model}|".encode() + body, digest_size=12).hexdigest()
        occurrence = self._occurrence(digest)
        luck = Random(f"{digest}|{occurrence}")  # noqa: S311 - a simulation, not a secret
        latency = self._profiles[model].latency.draw(luck) * self._latency_scale
        fault = self._book.draw(model, luck)
        self._calls[model] += 1
        self._kinds[fault.kind] += 1
        noise = Random(digest) if is_repeatable else luck  # noqa: S311 - a simulation, not a secret
        return Fate(latency_s=latency + fault.extra_s, fault=fault, noise=noise, token=f"{digest}-{occurrence}")

    def statistics(self) -> SimulationStatistics:
        """What was drawn so far."""
        return SimulationStatistics(calls=dict(self._calls), fates=dict(self._kinds))

    def _occurrence(self, digest: str) -> int:
        count = self._seen.pop(digest, 0) + 1
        self._seen[digest] = count
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return count
