"""How the injection model is made: rows from texts, two heads, out-of-fold scores, and the threshold from those.

A text that is scored was not in the training of what scores it, nor was any text of its group. The scale is fixed
such that log-odds of zero is where one benign text in a hundred passes, by the conformal rule.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from omninode.bench.injection.linear import Rows, fit
from omninode.validation.features import BUCKETS, grams
from omninode.validation.model import PRIOR, WHOLE, Head, Shape

__all__ = ["Labelled", "calibrated", "conformal", "trained"]

_Floats = npt.NDArray[np.float64]
# N-grams in fewer texts than this say nothing about others.
_LEAST_TEXTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """Folded texts with their labels and how much each counts."""

    texts: list[str]
    is_attack: npt.NDArray[np.bool_]
    importance: _Floats

    def chosen(self, rows: npt.NDArray[np.intp]) -> Labelled:
        """The ones named."""
        return Labelled(
            texts=[self.texts[row] for row in rows],
            is_attack=self.is_attack[rows],
            importance=self.importance[rows],
        )


def trained(known: Labelled, *, shape: Shape, cost: float, rounds: int = 8) -> Head:
    """A head fitted to the texts; its scale is still to be set."""
    buckets = [_buckets(text) for text in known.texts]
    seen = np.zeros(BUCKETS)
    for each in buckets:
        seen[np.unique(each)] += 1
    # What was hardly seen has no weight but counts in the length, so text unlike any of these is not judged by scraps.
    rarity = (np.log((1 + len(buckets)) / (1 + seen)) + 1.0).astype(np.float16).astype(np.float32)
    rows = _rows(buckets, rarity.astype(np.float64), is_known=seen >= _LEAST_TEXTS)
    weights, intercept = fit(rows, labels=known.is_attack, importance=cost * _balanced(known), rounds=rounds)
    stored = weights.astype(np.float16).astype(np.float32)
    return Head(
        shape=shape, weights=stored * rarity, rarity=rarity, intercept=intercept, scale=np.array([1.0, 0, 0, 0])
    )


def _buckets(text: str) -> npt.NDArray[np.uint32]:
    found = grams(text)
    end = min(WHOLE, len(found.places))
    tokens = int(np.searchsorted(found.tokens, end))
    return np.concatenate([each[:end] for each in found.characters] + [each[:tokens] for each in found.words])


def _rows(buckets: Sequence[npt.NDArray[np.uint32]], rarity: _Floats, *, is_known: npt.NDArray[np.bool_]) -> Rows:
    starts, columns, values = [0], [], []
    for each in buckets:
        where, counts = np.unique(each, return_counts=True)
        norm = math.sqrt(float(counts @ rarity[where] ** 2) + PRIOR)
        known = is_known[where]
        columns.append(where[known])
        values.append((counts * rarity[where] / norm)[known].astype(np.float32))
        starts.append(starts[-1] + int(known.sum()))
    return Rows(starts=np.array(starts), columns=np.concatenate(columns), values=np.concatenate(values), width=BUCKETS)


def _balanced(known: Labelled) -> _Floats:
    """What an error may cost, such that both labels weigh the same and a text costs one on average."""
    importance = known.importance.copy()
    for label in (True, False):
        rows = known.is_attack == label
        importance[rows] *= 0.5 * len(importance) / importance[rows].sum()
    return importance


def conformal(benign: _Floats, *, rate: float) -> float:
    """The threshold that an exchangeable benign text passes with a chance of at most `rate`."""
    rank = math.ceil((len(benign) + 1) * (1 - rate))
    return float(np.sort(benign)[rank - 1]) if rank <= len(benign) else math.inf


def calibrated(facts: _Floats, *, is_attack: npt.NDArray[np.bool_], importance: _Floats, rate: float) -> _Floats:
    """The scale of a head: logistic regression on the facts, moved so that the threshold for `rate` is at zero."""
    columns = np.column_stack([facts, np.ones(len(facts))])
    weights = importance.copy()
    for label in (True, False):
        weights[is_attack == label] /= weights[is_attack == label].sum()
    scale = np.zeros(columns.shape[1])
    for _ in range(30):
        chance = 1 / (1 + np.exp(-np.clip(columns @ scale, -30, 30)))
        slope = columns.T @ (weights * (chance - is_attack)) + 1e-3 * scale
        bend = (columns * (weights * chance * (1 - chance))[:, None]).T @ columns + 1e-3 * np.eye(len(scale))
        scale -= np.linalg.solve(bend, slope)
    scale[-1] -= conformal(columns[~is_attack] @ scale, rate=rate)
    return scale
