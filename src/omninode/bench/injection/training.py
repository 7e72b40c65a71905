"""How the injection model is made: rows from texts, two heads, out-of-fold scores, and the threshold from those.

A text that is scored was not in the training of what scores it, nor was any text of its group. The scale is fixed
such that log-odds of zero is where one benign text in a hundred passes, by the conformal rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from omninode.validation.features import BUCKETS, CONCEPTS_FROM, WORDS_FROM, Concepts, grams
from omninode.validation.model import PRIOR, WHOLE, Head, Shape, table

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = [
    "RATE",
    "Fitted",
    "Labelled",
    "Stored",
    "calibrated",
    "calibration_error",
    "chances",
    "conformal",
    "counted",
    "placed",
    "rates",
    "trained",
]

_Floats = npt.NDArray[np.float64]
# N-grams in fewer texts than this say nothing about others.
_LEAST_TEXTS = 3
# What a word and a concept count against a run of characters of which there are many more.
_WORD_SAY, _CONCEPT_SAY = 1.5, 4.0


_ROUNDS = 300
RATE = 0.01
"""The share of ordinary texts that may pass a threshold."""
_HARD_RATE = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """How often each bucket is met in each text (a row each), with the labels and how much each text counts."""

    counts: csr_matrix
    is_attack: npt.NDArray[np.bool_]
    importance: _Floats

    def chosen(self, rows: npt.NDArray[np.intp]) -> Labelled:
        """The ones named."""
        return Labelled(counts=self.counts[rows], is_attack=self.is_attack[rows], importance=self.importance[rows])


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A head as it is stored: per bucket a weight on what is scaled by rarity, and that rarity; both float16."""

    weights: npt.NDArray[np.float16]
    rarity: npt.NDArray[np.float16]
    intercept: float

    def head(self, *, shape: Shape, concepts: Concepts) -> Head:
        """The head that works with these; its scale is still to be set."""
        rarity = self.rarity.astype(np.float32)
        return Head(
            shape=shape,
            pairs=table(self.weights.astype(np.float32) * rarity, rarity),
            intercept=self.intercept,
            scale=(1.0, 0.0, 0.0, 0.0, 0.0),
            chances=np.zeros((2, 1)),
            rates=np.zeros((2, 1)),
            concepts=concepts,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What is stored of a head with its scale, and the out-of-fold log-odds it was calibrated on.

    Beside each its label, where the text is from and its kind there, the number of its group, and whether it is one of the
    ordinary ones of which one in a hundred may pass the threshold.
    """

    stored: Stored
    scale: npt.NDArray[np.float64]
    log_odds: npt.NDArray[np.float64]
    is_attack: npt.NDArray[np.bool_]
    source: tuple[str, ...]
    kind: tuple[str, ...]
    group: tuple[int, ...]
    is_ordinary: npt.NDArray[np.bool_]

    def head(self, *, shape: Shape, concepts: Concepts) -> Head:
        """The head that works with what is stored and this scale."""
        return replace(self.stored.head(shape=shape, concepts=concepts), scale=tuple(self.scale.tolist()))


_RATES = (0.2, 0.1, 0.05, 0.03, 0.02, 0.01, 0.007, 0.005, 0.003, 0.002, 0.001)


def rates(benign: _Floats, *, source: Sequence[str], copies: Sequence[int] | None = None) -> _Floats:
    """Rising log-odds, and beside them the share of ordinary texts that is to be expected above, as `conformal` has it."""
    levels = [(conformal(benign, rate=rate, source=source, copies=copies), rate) for rate in _RATES]
    return np.array([pair for pair in levels if math.isfinite(pair[0])]).T


def chances(log_odds: _Floats, *, is_attack: npt.NDArray[np.bool_]) -> _Floats:
    """Rising log-odds, and beside them how likely an attack is at each, were there as many of either kind.

    Isotonic regression (Zadrozny and Elkan, KDD 2002), never surer than one part in two hundred.
    """
    from sklearn.isotonic import IsotonicRegression

    weights = np.where(is_attack, 0.5 / is_attack.sum(), 0.5 / (~is_attack).sum())
    fitted = IsotonicRegression(y_min=0.005, y_max=0.995, out_of_bounds="clip")
    fitted.fit(log_odds, is_attack, sample_weight=weights)
    return np.vstack((fitted.X_thresholds_, fitted.y_thresholds_))


def calibration_error(log_odds: _Floats, *, is_attack: npt.NDArray[np.bool_], bins: int = 10) -> float:
    """How far the chance told is from the share of attacks, on average over the texts: one half told by the other.

    The expected calibration error (Naeini and others, AAAI 2015), with both kinds of text as one half of the weight.
    """
    weights = np.where(is_attack, 0.5 / is_attack.sum(), 0.5 / (~is_attack).sum())
    half = np.random.default_rng(3).random(len(log_odds)) < 0.5
    error = 0.0
    for known, asked in ((half, ~half), (~half, half)):
        levels, values = chances(log_odds[known], is_attack=is_attack[known])
        told = np.interp(log_odds[asked], levels, values)
        bin_of = np.minimum((told * bins).astype(int), bins - 1)
        for number in range(bins):
            here = bin_of == number
            error += abs(float(weights[asked][here] @ (told[here] - is_attack[asked][here])))
    return error


def counted(texts: Sequence[str], concepts: Concepts) -> csr_matrix:
    """How often each bucket is met in the part of each folded text that is read as a whole."""
    from scipy.sparse import csr_matrix

    found = [np.unique(_buckets(text, concepts), return_counts=True) for text in texts]
    starts = np.concatenate(([0], np.cumsum([buckets.size for buckets, _ in found])))
    columns = np.concatenate([buckets for buckets, _ in found]).astype(np.int32)
    counts = np.concatenate([counts for _, counts in found]).astype(np.float64)
    return csr_matrix((counts, columns, starts), shape=(len(texts), BUCKETS))


def trained(known: Labelled, *, cost: float) -> Stored:
    """What is fitted to the texts; `cost` is what an error on a text of average importance may cost.

    A support vector machine with squared hinge loss, fitted by liblinear (Fan and others, JMLR 2008) with a fixed seed.
    """
    from scipy.sparse import diags
    from sklearn.svm import LinearSVC

    seen = np.bincount(known.counts.indices, minlength=BUCKETS)
    # What was hardly seen has no weight but counts in the length, so text unlike any of these is not judged by scraps.
    rarity = ((np.log((1 + known.counts.shape[0]) / (1 + seen)) + 1.0) * _say()).astype(np.float16)
    scale = rarity.astype(np.float64)
    lengths = np.sqrt(known.counts @ scale**2 + PRIOR)
    rows = diags(1 / lengths) @ known.counts @ diags(scale * (seen >= _LEAST_TEXTS))
    machine = LinearSVC(C=cost, dual=True, max_iter=_ROUNDS, tol=1e-3, random_state=0)
    machine.fit(rows, known.is_attack, sample_weight=_balanced(known))
    return Stored(weights=machine.coef_[0].astype(np.float16), rarity=rarity, intercept=float(machine.intercept_[0]))


def _say() -> _Floats:
    say = np.ones(BUCKETS)
    say[WORDS_FROM:CONCEPTS_FROM] = _WORD_SAY
    say[CONCEPTS_FROM:] = _CONCEPT_SAY
    return say


def _buckets(text: str, concepts: Concepts) -> npt.NDArray[np.intp]:
    found = grams(text, concepts=concepts)
    words, marks = np.searchsorted(found.tokens, WHOLE), np.searchsorted(found.marks, WHOLE)
    rows = ((found.characters, WHOLE), (found.words, words), (found.concepts, marks))
    joined = np.concatenate([row[:end] for group, end in rows for row in group])
    return joined[joined < BUCKETS]


def _balanced(known: Labelled) -> _Floats:
    """What an error may cost, such that both labels weigh the same and a text costs one on average."""
    importance = known.importance.copy()
    for label in (True, False):
        rows = known.is_attack == label
        importance[rows] *= 0.5 * len(importance) / importance[rows].sum()
    return importance


def conformal(
    benign: _Floats,
    *,
    rate: float,
    source: Sequence[str] | None = None,
    copies: Sequence[int] | None = None,
) -> float:
    """The threshold that an exchangeable benign text passes with a chance of at most `rate`.

    Of texts that come from several sources the mean of their chances is held, so that none counts more for having more.
    Texts of the same number in `copies` are near-copies, and count as one text of their source between them.
    """
    if not benign.size:
        return -math.inf
    of = np.unique(source, return_inverse=True)[1] if source is not None else np.zeros(len(benign), dtype=np.intp)
    number = np.array(copies) if copies is not None else np.arange(len(benign))
    (first, _), unit, sizes = np.unique((of, number), axis=1, return_inverse=True, return_counts=True)
    each = 1 / (np.bincount(first) + 1) / np.unique(of).size
    order = np.argsort(-benign, kind="stable")
    # A text more than those above, of each source, could have been above as well.
    over = each.sum() + np.cumsum((each[of] / sizes[unit])[order])
    above = int(np.searchsorted(over, rate * (1 + 1e-9), side="right"))
    if each.sum() > rate * (1 + 1e-9):
        return math.inf
    return float(benign[order[above]]) if above < len(benign) else -math.inf


def placed(
    benign: _Floats,
    source: npt.NDArray[np.str_],
    *,
    hard: Sequence[str],
    aside: Sequence[str] = (),
    copies: Sequence[int] | None = None,
) -> float:
    """Where one in a hundred ordinary texts passes, and three of those from sources that are `hard` on purpose.

    The former with the same say for each source, and of all texts together, hard ones among them; the strictest counts.
    Sources set `aside` have a say in the last of these only; `copies` as for `conformal`, of each source.
    """
    number = np.array(copies) if copies is not None else np.arange(len(benign))

    def of(chosen: npt.NDArray[np.bool_], rate: float) -> float:
        return conformal(benign[chosen], rate=rate, source=source[chosen].tolist(), copies=number[chosen].tolist())

    return max(
        of(~np.isin(source, [*hard, *aside]), RATE),
        of(np.isin(source, hard), _HARD_RATE),
        conformal(benign, rate=RATE),
    )


def calibrated(
    facts: _Floats,
    *,
    is_attack: npt.NDArray[np.bool_],
    importance: _Floats,
    threshold: Callable[[_Floats], float],
) -> _Floats:
    """The scale of a head: logistic regression on the facts, moved so that zero is the `threshold` of benign scores."""
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
    scale[-1] -= threshold(columns[~is_attack] @ scale)
    return scale
