"""Counts which letter follows which: `python tools/count_letter_pairs.py --data FOLDER`; the same folder, the same file."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

import numpy as np

from omninode.bench.injection.data import read
from omninode.validation.turned import SYMBOLS, symbols
from omninode.validation.views import scored_text

# So much of a text is read, and its pairs count for no more than that of a text of the second length.
_READ, _COUNTED = 3_000, 300
# Added to every pair, as a share of all: what was never seen is rare, not impossible.
_UNSEEN = 0.02


def main() -> None:
    """Count, and write ten times the natural logarithm of each pair's share, one line per first letter."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder with train.jsonl.gz")
    parser.add_argument("--out", type=Path, default=Path("src/omninode/validation/letter_pairs.txt"))
    options = parser.parse_args()
    counts = np.zeros(SYMBOLS * SYMBOLS)
    for sample in read(options.data, "train"):
        found = np.frombuffer(symbols(f" {scored_text(sample.text[:_READ])} "), dtype=np.uint8).astype(np.intp)
        pairs = np.bincount(found[:-1] * SYMBOLS + found[1:], minlength=SYMBOLS * SYMBOLS)
        counts += pairs * min(1.0, _COUNTED / found.size)
    # Two signs that are no letters say nothing about a language.
    counts[0] = 0
    shares = (counts / counts.sum() + _UNSEEN / counts.size) / (1 + _UNSEEN)
    table = np.rint(10 * np.log(shares)).astype(int).reshape(SYMBOLS, SYMBOLS)
    options.out.write_text("".join(" ".join(map(str, row)) + "\n" for row in table.tolist()), encoding="utf-8")


if __name__ == "__main__":
    main()
