"""What the injection model makes of texts whose source it has not seen: the training folder, one source left out.

It trains anew for each source, so it takes minutes, and needs scikit-learn and a checkout with our own texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np

from omninode.bench.injection.data import Sample, written
from omninode.bench.injection.figures import area, share_above
from omninode.bench.injection.heads import direct_head
from omninode.bench.injection.material import planted_head
from omninode.bench.injection.meanings import concepts
from omninode.bench.injection.training import Fitted, calibration_error
from omninode.bench.measure import Spread
from omninode.bench.scenario import Figure, Target, at_least, at_most

__all__ = ["crossed", "told", "what_is_missing"]

_CODE = (
    *("coding", "code,", "work, code_docstring", "general, code", "general, security", "extract, code"),
    *("extract, security_homework", "mixed, technical", "mixed, security"),
)


def what_is_missing() -> str | None:
    """What keeps this from being measured here; None when nothing does."""
    if not written():
        return "our own texts are not installed; run it from a checkout"
    if find_spec("sklearn") is None:
        return "scikit-learn is not installed; pip install 'omninode[train]'"
    return None


def crossed(samples: Sequence[Sample]) -> tuple[list[Figure], list[str]]:
    """The figures of both heads on what they have not seen, and the shares by source."""
    words = concepts()
    direct = direct_head(samples, concepts=words, say=_nothing)
    planted = planted_head(samples, concepts=words, say=_nothing)
    attacks, benign = direct.log_odds[direct.is_attack], direct.log_odds[~direct.is_attack]
    is_code = np.array([kind.startswith(_CODE) for kind in direct.kind]) & ~direct.is_attack
    code = share_above(direct.log_odds[is_code])
    figures = [
        _figure("AUC, source left out", area(attacks, benign), at_least(0.95), unit=""),
        _figure("recall, source left out", 100 * share_above(attacks).value, at_least(80)),
        _figure("false alarms, source left out", 100 * share_above(benign).value, at_most(1)),
        _figure("false alarms on code, SQL, HTML, shell and security, source left out", 100 * code.value, at_most(1)),
        _figure(
            "AUC, planted in documents, fold left out",
            area(planted.log_odds[planted.is_attack], planted.log_odds[~planted.is_attack]),
            at_least(0.88),
            unit="",
        ),
    ]
    notes = [told("direct, one source left out", direct), told("planted, one fold left out", planted)]
    return figures, [line for note in notes for line in note.splitlines()]


def told(name: str, fitted: Fitted) -> str:
    """What a head makes of texts it has not seen, in all and by source, a line each."""
    attacks, benign = fitted.log_odds[fitted.is_attack], fitted.log_odds[~fitted.is_attack]
    lines = [
        f"{name}: AUC {area(attacks, benign):.3f}, recall {share_above(attacks)}, false alarms {share_above(benign)}"
    ]
    error = calibration_error(fitted.log_odds, is_attack=fitted.is_attack)
    lines.append(f"  the chance told is {100 * error:.1f} points off on average (expected calibration error)")
    source = np.array(fitted.source)
    for each in sorted(set(fitted.source)):
        for label, what in ((True, "attacks"), (False, "benign")):
            chosen = fitted.log_odds[(source == each) & (fitted.is_attack == label)]
            if chosen.size:
                lines.append(f"  {each} {what}: {share_above(chosen)} over the threshold")
    return "\n".join(lines)


def _figure(name: str, value: float, target: Target, *, unit: str = "%") -> Figure:
    return Figure(name=name, spread=Spread.of([value]), unit=unit, target=target)


def _nothing(_: str) -> None:
    """Training has nothing to tell meanwhile."""
