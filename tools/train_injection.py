"""Trains the injection model: `python tools/train_injection.py --data FOLDER`; the same folder gives the same file."""

from __future__ import annotations

from argparse import ArgumentParser
from hashlib import sha256
from pathlib import Path

import numpy as np
import numpy.typing as npt

from omninode.bench.injection.data import read
from omninode.bench.injection.figures import area, share_above
from omninode.bench.injection.heads import Fitted, direct_head, planted_head


def _told(name: str, fitted: Fitted) -> str:
    attacks, benign = fitted.log_odds[fitted.is_attack], fitted.log_odds[~fitted.is_attack]
    lines = [
        f"{name}: AUC {area(attacks, benign):.3f}, recall {share_above(attacks)}, false alarms {share_above(benign)}"
    ]
    for source in sorted(set(fitted.source)):
        here = np.array([each == source for each in fitted.source])
        for label, kind in ((True, "attacks"), (False, "benign")):
            chosen = fitted.log_odds[here & (fitted.is_attack == label)]
            if chosen.size:
                lines.append(f"  {source} {kind}: {share_above(chosen)} over the threshold")
    return "\n".join(lines)


def main() -> None:
    """Train, say how well it did out of fold, and write the file."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder with train.jsonl.gz")
    parser.add_argument("--out", type=Path, default=Path("src/omninode/validation/injection_model.npz"))
    options = parser.parse_args()
    samples = read(options.data, "train")
    direct, planted = direct_head(samples, say=print), planted_head(samples, say=print)
    print(_told("direct, one source left out", direct))
    print(_told("planted, one fold left out", planted))
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    for name, fitted in (("direct", direct), ("planted", planted)):
        rarity = fitted.head.rarity
        weights = np.divide(fitted.head.weights, rarity, out=np.zeros_like(rarity), where=rarity > 0)
        arrays[f"{name}_weights"] = weights.astype(np.float16)
        arrays[f"{name}_rarity"] = rarity.astype(np.float16)
        arrays[f"{name}_intercept"] = np.array(fitted.head.intercept)
        arrays[f"{name}_scale"] = fitted.head.scale
    version = sha256(b"".join(array.tobytes() for array in arrays.values())).hexdigest()[:12]
    np.savez_compressed(options.out, allow_pickle=False, version=np.array(version), **arrays)
    print(f"{options.out}: {options.out.stat().st_size:,} bytes, version {version}")


if __name__ == "__main__":
    main()
