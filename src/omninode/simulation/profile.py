"""What a simulated model is like: how fast, how good, how reliable.

Everything is drawn from a seed, so the same seed and the same requests give the same latencies, faults and answers,
in whatever order they arrive. All figures are invented: they stand for no real model, and whatever they lead to is
SIMULATED.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from random import Random

from omninode.core.errors import InvalidArgumentError

__all__ = ["DEFAULT_PROFILES", "Faults", "Latency", "ModelProfile"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Time to a whole answer, lognormal: half the answers take less than `median_s`, `sigma` is the spread."""

    median_s: float = 0.5
    sigma: float = 0.25

    def __post_init__(self) -> None:
        if not (math.isfinite(self.median_s) and self.median_s >= 0 and math.isfinite(self.sigma) and self.sigma >= 0):
            raise InvalidArgumentError(
                f"latency median_s={self.median_s}, sigma={self.sigma}: both must be finite and not negative"
            )

    def draw(self, random: Random) -> float:
        """One latency in seconds."""
        return self.median_s * math.exp(random.gauss(0.0, self.sigma))


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """How often a model misbehaves, as shares of its calls; at most one fault happens to a call.

    `error_rate` answers HTTP `error_status`; `throttle_rate` answers 429 with Retry-After `retry_after_s`;
    `hang_rate` never answers; `cut_rate` closes the connection in the middle of the answer; `malformed_rate` sends
    broken JSON on the wire; `prose_rate` answers in prose where JSON was asked for. The first `slow_start_calls`
    calls take `slow_start_s` longer, like a model being loaded.
    """

    error_rate: float = 0.0
    error_status: int = 500
    throttle_rate: float = 0.0
    retry_after_s: float = 1.0
    hang_rate: float = 0.0
    cut_rate: float = 0.0
    malformed_rate: float = 0.0
    prose_rate: float = 0.0
    slow_start_s: float = 0.0
    slow_start_calls: int = 1

    def __post_init__(self) -> None:
        rates = {item.name: getattr(self, item.name) for item in fields(self) if item.name.endswith("_rate")}
        for name, rate in rates.items():
            if not 0.0 <= rate <= 1.0:
                raise InvalidArgumentError(f"{name} is {rate}; a rate lies between 0 and 1")
        if sum(rates.values()) > 1.0 + 1e-9:
            raise InvalidArgumentError(f"the fault rates add up to {sum(rates.values()):.2f}; together at most 1")
        if not 400 <= self.error_status <= 599:
            raise InvalidArgumentError(f"error_status is {self.error_status}; use 400 to 599")
        if self.retry_after_s < 0 or self.slow_start_s < 0 or self.slow_start_calls < 0:
            raise InvalidArgumentError("retry_after_s, slow_start_s and slow_start_calls must not be negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelProfile:
    """One simulated model.

    `quality` from 0 to 1: how rarely it forgets a part of a request when it plans, and how rarely it errs when it
    votes. `roles` and `weight` go into its deployment.
    """

    name: str
    latency: Latency = field(default_factory=Latency)
    quality: float = 0.9
    roles: tuple[str, ...] = ("planner", "voter", "worker")
    weight: float = 1.0
    faults: Faults = field(default_factory=Faults)

    def __post_init__(self) -> None:
        if not self.name:
            raise InvalidArgumentError("a model profile needs a name")
        if not 0.0 <= self.quality <= 1.0:
            raise InvalidArgumentError(f"quality of {self.name!r} is {self.quality}; it lies between 0 and 1")
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise InvalidArgumentError(f"weight of {self.name!r} is {self.weight}; it must be positive")


DEFAULT_PROFILES: tuple[ModelProfile, ...] = (
    ModelProfile(
        name="sim-swift",
        latency=Latency(median_s=0.25, sigma=0.2),
        quality=0.85,
        roles=("voter", "worker"),
        weight=0.8,
    ),
    ModelProfile(name="sim-steady", latency=Latency(median_s=0.6, sigma=0.1), quality=0.95),
    ModelProfile(name="sim-scholar", latency=Latency(median_s=0.9, sigma=0.3), quality=0.99, weight=1.2),
    ModelProfile(
        name="sim-careless", latency=Latency(median_s=0.35, sigma=0.5), quality=0.6, roles=("voter",), weight=0.5
    ),
    ModelProfile(
        name="sim-keen", latency=Latency(median_s=0.7, sigma=0.4), quality=0.92, roles=("voter", "worker"), weight=1.0
    ),
)
