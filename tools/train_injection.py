"""Trains the injection model: `python tools/train_injection.py --data FOLDER`; the same folder gives the same file."""

from __future__ import annotations

from argparse import ArgumentParser
from hashlib import sha256
from pathlib import Path

import numpy as np
import numpy.typing as npt

from omninode.bench.injection.crossed import told
from omninode.bench.injection.data import read
from omninode.bench.injection.glances import glance_arrays, glance_at
from omninode.bench.injection.heads import direct_head, prompts
from omninode.bench.injection.material import measured_documents, planted_head
from omninode.bench.injection.meanings import concepts
from omninode.bench.injection.training import chances, rates
from omninode.validation.injection import NEAR
from omninode.validation.model import DIRECT, PLANTED
from omninode.validation.views import scored_text


def main() -> None:
    """Train, say how well it did out of fold, and write the file."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder with train.jsonl.gz")
    parser.add_argument("--out", type=Path, default=Path("src/omninode/validation/injection_model.npz"))
    options = parser.parse_args()
    samples = read(options.data, "train")
    words = concepts()
    direct = direct_head(samples, concepts=words, say=print)
    planted = planted_head(samples, concepts=words, say=print)
    print(told("direct, one source left out", direct))
    print(told("planted, one fold left out", planted))
    arrays: dict[str, npt.NDArray[np.generic]] = {"concepts": words}
    heads = (
        ("direct", direct, DIRECT, [sample.text for sample in prompts(samples)]),
        ("planted", planted, PLANTED, measured_documents(samples)),
    )
    for name, fitted, shape, texts in heads:
        arrays[f"{name}_weights"] = fitted.stored.weights
        arrays[f"{name}_rarity"] = fitted.stored.rarity
        arrays[f"{name}_intercept"] = np.array(fitted.stored.intercept)
        arrays[f"{name}_scale"] = fitted.scale
        ordinary = np.flatnonzero(fitted.is_ordinary)
        of, copies = [fitted.source[row] for row in ordinary], [fitted.group[row] for row in ordinary]
        arrays[f"{name}_rates"] = rates(fitted.log_odds[ordinary], source=of, copies=copies)
        arrays[f"{name}_chances"] = chances(fitted.log_odds, is_attack=fitted.is_attack)
        head = fitted.head(shape=shape, concepts=words)
        arrays |= glance_arrays(name, glance_at(head, [scored_text(text) for text in texts], reported_from=NEAR))
    version = sha256(b"".join(array.tobytes() for array in arrays.values())).hexdigest()[:12]
    np.savez_compressed(options.out, allow_pickle=False, version=np.array(version), **arrays)
    print(f"{options.out}: {options.out.stat().st_size:,} bytes, version {version}")


if __name__ == "__main__":
    main()
