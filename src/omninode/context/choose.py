"""Choosing sources with a known probability, from one model per source.

Until a source has `min_labels` rewards it is always asked; a `must` source always is. Otherwise it is asked with the
probability that it is worth its price, never less than `floor`, so that a source once given up can come back. A share
of all decisions asks everything, which keeps the models honest about what they no longer choose.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from omninode.context.decision import Choice, Decision
from omninode.context.features import SIZE, features
from omninode.context.item import SourceReport
from omninode.context.predict import Prediction, SourceModel, TypeProbability
from omninode.context.source import Source, traits_of
from omninode.core.errors import InvalidArgumentError
from omninode.core.ids import stable_hash

__all__ = ["ChoosingConfig", "SourceModels", "prompt_hash"]

# The types of the sources that ship, for a prediction before any source was seen.
_SHIPPED_TYPES = ("files", "search", "structure", "retrieval", "hints")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoosingConfig:
    """How sources are chosen.

    Args:
        min_labels: rewards before a source may be left out.
        explored_share: the share of decisions that ask everything.
        floor: the least probability of asking a source.
        temper: scales doubt into exploring; lower settles sooner.
        price: what a unit of cost must earn, to start with; it rises while tasks succeed and falls when they fail.
        quality_floor: the share of tasks that should succeed.
        price_step: how fast the price moves.
    """

    min_labels: int = 30
    explored_share: float = 0.05
    floor: float = 0.05
    temper: float = 0.3
    price: float = 0.1
    quality_floor: float = 0.8
    price_step: float = 0.05

    def __post_init__(self) -> None:
        for name in ("explored_share", "floor", "quality_floor"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidArgumentError(f"{name} is {getattr(self, name)}; pass a share between 0 and 1")
        if self.min_labels < 1 or self.temper <= 0 or self.price <= 0:
            raise InvalidArgumentError("min_labels, temper and price must be greater than zero")


def prompt_hash(prompt: str) -> str:
    """What a prompt is known by in stored rows: its hash, white space and letter case aside."""
    return stable_hash(" ".join(prompt.split()).casefold())


class SourceModels:
    """The models of all sources seen so far, by name. Not safe across threads."""

    def __init__(self, config: ChoosingConfig, *, must: Iterable[str] = (), seed: int | None = None) -> None:
        self._config = config
        self._must = frozenset(must)
        self._random = random.Random(seed)  # noqa: S311 - draws choices, guards nothing
        self._models: dict[str, SourceModel] = {}
        self.price = config.price
        self.labels = 0

    def model(self, source: str, context_type: str) -> SourceModel:
        """The model of `source`, made when it is not known yet."""
        if source not in self._models:
            self._models[source] = SourceModel(source, context_type, size=SIZE)
        return self._models[source]

    @property
    def known(self) -> tuple[SourceModel, ...]:
        """The models, in the order their sources were first seen."""
        return tuple(self._models.values())

    def decide(self, prompt: str, sources: Sequence[Source], *, task_type: str) -> Decision:
        """Which of `sources` to ask."""
        described = features(prompt, task_type=task_type)
        asks_all = self._random.random() < self._config.explored_share
        choices = tuple(self._choice(source, described, asks_all=asks_all) for source in sources)
        return Decision(prompt_hash=prompt_hash(prompt), task_type=task_type, features=described, choices=choices)

    def _choice(self, source: Source, described: Sequence[float], *, asks_all: bool) -> Choice:
        model = self.model(source.name, source.context_type)
        if traits_of(source).is_must or source.name in self._must:
            return Choice(source=source.name, context_type=source.context_type, included=True, reason="must")
        if model.value.labels < self._config.min_labels:
            return Choice(source=source.name, context_type=source.context_type, included=True, reason="cold_start")
        worth = self.probability(model, described)
        # Drawn in any case, so that one source's choice does not shift another's random numbers.
        is_drawn = self._random.random() < worth
        explored = self._config.explored_share
        return Choice(
            source=source.name,
            context_type=source.context_type,
            included=asks_all or is_drawn,
            propensity=explored + (1 - explored) * worth,
            reason="explored" if asks_all and not is_drawn else "learned",
        )

    def probability(self, model: SourceModel, described: Sequence[float]) -> float:
        """The probability with which a source past its cold start is asked, exploring aside."""
        worth = model.probability(described, price=self.price, temper=self._config.temper)
        return min(1.0, max(self._config.floor, worth))

    def predict(self, prompt: str, *, task_type: str) -> Prediction:
        """The types of context the prompt needs; every known type is needed while it is in its cold start."""
        described = features(prompt, task_type=task_type)
        best: dict[str, TypeProbability] = {
            kind: TypeProbability(context_type=kind, probability=1.0, samples=0, basis="cold_start")
            for kind in (_SHIPPED_TYPES if not self._models else ())
        }
        for model in self._models.values():
            entry = self._type_probability(model, described)
            known = best.get(model.context_type)
            if known is None or entry.probability > known.probability:
                best[model.context_type] = entry
        ranked = tuple(sorted(best.values(), key=lambda entry: -entry.probability))
        learned = [abs(2 * entry.probability - 1) for entry in ranked if entry.basis == "learned"]
        confidence = sum(learned) / len(ranked) if ranked else 0.0
        return Prediction(types=ranked, task_type=task_type, confidence=confidence)

    def _type_probability(self, model: SourceModel, described: Sequence[float]) -> TypeProbability:
        labels = model.value.labels
        is_cold = labels < self._config.min_labels
        return TypeProbability(
            context_type=model.context_type,
            probability=1.0 if is_cold else self.probability(model, described),
            samples=labels,
            basis="cold_start" if is_cold else "learned",
        )

    def observe(self, report: SourceReport) -> None:
        """Take what asking a source cost."""
        if report.status != "skipped":
            model = self.model(report.source, report.context_type)
            model.observe(latency_ms=report.duration_ms, tokens=report.tokens)

    def learn(self, model: SourceModel, described: Sequence[float], reward: float, *, weight: float = 1.0) -> None:
        """Take the reward of one source."""
        model.learn(described, reward, weight=weight)
        self.labels += 1

    def adjust_price(self, quality: float) -> None:
        """Ask for more per unit of cost while tasks succeed, for less when they fail, so that more is gathered."""
        moved = self.price * math.exp(self._config.price_step * (quality - self._config.quality_floor))
        self.price = min(1.5 * self._config.price, max(0.2 * self._config.price, moved))
