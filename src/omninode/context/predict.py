"""From what was learned to probabilities: is a source worth asking, which kinds of context a prompt needs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from omninode.context.learn import LinearPosterior

__all__ = ["Basis", "Prediction", "SourceModel", "TypeProbability", "inclusion_probability"]

Basis = Literal["cold_start", "learned"]
_SMOOTHING = 0.1


def inclusion_probability(*, mean: float, deviation: float, threshold: float) -> float:
    """P(a draw of the value exceeds `threshold`) for a value known as Normal(mean, deviation squared).

    That is Thompson sampling in closed form, so the probability of the choice is known and can be logged.
    """
    return 0.5 * (1.0 + math.erf((mean - threshold) / (deviation * math.sqrt(2.0))))


class SourceModel:
    """What is known of one source: the value of what it gives, and what asking it costs."""

    def __init__(self, source: str, context_type: str, *, size: int) -> None:
        self.source = source
        self.context_type = context_type
        self.value = LinearPosterior(size)
        self.used = 0
        self.useful = 0.0
        self._latency_ms = 0.0
        self._tokens = 0.0
        self._observed = 0

    def observe(self, *, latency_ms: float, tokens: int) -> None:
        """Take what one asking cost."""
        share = _SMOOTHING if self._observed else 1.0
        self._latency_ms += share * (latency_ms - self._latency_ms)
        self._tokens += share * (tokens - self._tokens)
        self._observed += 1

    def learn(self, features: Sequence[float], reward: float, *, weight: float) -> None:
        """Take one reward."""
        self.value.update(features, reward, weight=weight)
        self.used += 1
        self.useful += reward

    @property
    def cost(self) -> float:
        """What asking costs: one unit for the attention it takes, one per second, one per 4,000 tokens; at most 3."""
        return min(3.0, 1.0 + self._latency_ms / 1000 + self._tokens / 4000)

    def probability(self, features: Sequence[float], *, price: float, temper: float) -> float:
        """The probability that asking is worth `price` per unit of cost; `temper` scales how much doubt explores."""
        return inclusion_probability(
            mean=self.value.mean(features),
            deviation=temper * self.value.deviation(features),
            threshold=price * self.cost,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeProbability:
    """How probably a type of context is needed, and how many outcomes that rests on."""

    context_type: str
    probability: float
    samples: int
    basis: Basis


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The types of context a prompt needs, most probable first; `confidence` is how far from even the odds are."""

    types: tuple[TypeProbability, ...]
    task_type: str
    confidence: float
    is_cached: bool = False

    @property
    def needed(self) -> list[str]:
        """The types that are more probably needed than not."""
        return [entry.context_type for entry in self.types if entry.probability >= 0.5]

    def to_json(self) -> list[dict[str, object]]:
        """The types as JSON-able values."""
        return [
            {"type": entry.context_type, "p": round(entry.probability, 4), "n": entry.samples, "basis": entry.basis}
            for entry in self.types
        ]

    # Any: parsed JSON of a row.
    @classmethod
    def from_json(cls, data: Sequence[Mapping[str, Any]], *, task_type: str, confidence: float) -> Self:
        """The prediction that `to_json` was called on."""
        types = tuple(
            TypeProbability(
                context_type=str(entry["type"]),
                probability=float(entry["p"]),
                samples=int(entry["n"]),
                basis="learned" if entry["basis"] == "learned" else "cold_start",
            )
            for entry in data
        )
        return cls(types=types, task_type=task_type, confidence=confidence)
