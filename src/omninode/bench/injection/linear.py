"""A linear classifier on sparse rows, fitted by dual coordinate descent in numpy.

The method is that of Hsieh and others (ICML 2008) for the squared hinge loss: one row at a time, each step exact. It
takes seconds where a batch method takes minutes, and nothing the product does not already have.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Rows", "fit"]

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """A sparse matrix by rows: row `i` is `columns[starts[i]:starts[i + 1]]` with `values` beside them."""

    starts: npt.NDArray[np.int64]
    columns: npt.NDArray[np.uint32]
    values: npt.NDArray[np.float32]
    width: int

    def __len__(self) -> int:
        return len(self.starts) - 1

    def times(self, weights: _Floats) -> _Floats:
        """The product with a column of weights."""
        sums = np.concatenate(([0.0], np.cumsum(self.values * weights[self.columns], dtype=np.float64)))
        return sums[self.starts[1:]] - sums[self.starts[:-1]]


def fit(
    rows: Rows,
    *,
    labels: npt.NDArray[np.bool_],
    importance: _Floats,
    chosen: npt.NDArray[np.intp] | None = None,
    rounds: int = 12,
    seed: int = 0,
) -> tuple[_Floats, float]:
    """Weights and intercept for the `chosen` rows (all by default).

    `importance` is how much an error on each row may cost (the C of a support vector machine).
    """
    random = np.random.default_rng(seed)
    order = np.arange(len(rows)) if chosen is None else chosen.copy()
    weights, intercept = np.zeros(rows.width), 0.0
    pull = np.zeros(len(rows))
    signs = np.where(labels, 1.0, -1.0)
    softness = 0.5 / importance
    starts, columns, values = rows.starts.tolist(), rows.columns, rows.values.astype(np.float64)
    for _ in range(rounds):
        random.shuffle(order)
        for row in order.tolist():
            at = slice(starts[row], starts[row + 1])
            where, what = columns[at], values[at]
            sign, soft = signs[row], softness[row]
            slope = sign * (weights[where] @ what + intercept) - 1.0 + soft * pull[row]
            # The intercept is a weight on a column of ones.
            after = max(pull[row] - slope / (what @ what + 1.0 + soft), 0.0)
            step = sign * (after - pull[row])
            if step:
                weights[where] += step * what
                intercept += step
                pull[row] = after
    return weights, float(intercept)
